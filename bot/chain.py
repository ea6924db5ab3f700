"""One turn, read first: message → guardrail → retrieve → answer → cite → guardrail → reply.

The straight line is a LangChain Runnable, so that it can be invoked, streamed, batched and traced. Only this module turns what can go
wrong into a `Reply`; no exception and no unchecked sentence leaves it.
"""

import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import yaml
from langchain_core.runnables import Runnable, RunnableLambda

from bot.answer import extract
from bot.cite import resolve
from bot.guardrail.advice import write_advice
from bot.guardrail.check import check_message, unsafe
from bot.retrieve import Retriever, points_back, read_weights, standalone
from bot.scope import Scope, classify
from bot.turn import Citation, Draft, DraftSentence, Escalation, Message, Outcome, Reply, Retrieved, Timings, Verdict
from ingest.index import BadIndex
from kb.article import KB_DIR
from kb.languages import read_languages
from kb.red_flags import read_policy

log = logging.getLogger(__name__)
DECLINED = {"out_of_scope": "declined_scope", "diagnosis": "declined_diagnosis", "prescription": "declined_prescription"}
"""What the head may find a question to be, and the reply that declines it."""
Opener = Callable[[], Retriever]
Writer = Callable[[Retrieved, Sequence[Message]], Draft | None]
Opinion = Callable[[Verdict, Sequence[Message]], Verdict]


@dataclass(frozen=True)
class Turn:
    """What is known of a turn as it moves along the line; each step fills in its part."""

    messages: tuple[Message, ...]
    region: str | None = None
    verdict: Verdict = Verdict()
    scope: Scope = "question"
    retriever: Retriever | None = None
    retrieved: Retrieved | None = None
    draft: Draft | None = None
    text: str = ""
    citations: tuple[Citation, ...] = ()
    outcome: Outcome = "answered"
    follow_ups: tuple[str, ...] = ()
    model: str = "extractive"
    spent_ms: dict[str, float] = field(default_factory=dict)


@lru_cache(maxsize=1)
def read_replies() -> dict[str, str]:
    """Read the fixed wording of `kb/replies.yaml`."""
    return dict(yaml.safe_load((KB_DIR / "replies.yaml").read_text(encoding="utf-8")))


class Chain:
    """The line with its parts joined. `open_retriever` is called each turn, so that a new index is picked up."""

    def __init__(
        self,
        open_retriever: Opener,
        *,
        write: Writer | None = None,
        second_opinion: Opinion | None = None,
        model: str = "extractive",
        region: str = "ZZ",
    ) -> None:
        """Join the steps; `write` and `second_opinion` are the chat model's, None for extractive answers and the own guardrail only."""
        self.second_opinion = second_opinion
        self.open_retriever = open_retriever
        self.write = write
        self.model = model
        self.region = region
        self.line: Runnable[Turn, Reply] = (
            RunnableLambda(self.guard)
            | RunnableLambda(self.look_up)
            | RunnableLambda(self.answer)
            | RunnableLambda(self.cite)
            | RunnableLambda(self.guard_reply)
            | RunnableLambda(self.finish)
        )

    def respond(self, messages: Sequence[Message], *, region: str | None = None) -> Reply:
        """Answer the last message, which is the user's, in the light of those before it. Never raises."""
        started = time.perf_counter()
        turn = Turn(tuple(messages), region or self.region)
        try:
            reply = self.line.invoke(turn)
        except Exception as error:
            log.exception("turn failed: %s", type(error).__name__)
            reply = self.failed(turn)
        total = round(1000 * (time.perf_counter() - started), 2)
        return reply.model_copy(update={"timings_ms": reply.timings_ms.model_copy(update={"total": total})})

    def guard(self, turn: Turn) -> Turn:
        """Judge the conversation, before anything else."""
        started = time.perf_counter()
        verdict = check_message(turn.messages)
        if self.second_opinion:
            verdict = self.second_opinion(verdict, turn.messages)
        scope = classify(turn.messages[-1].content)
        return _timed(replace(turn, verdict=verdict, scope=scope), "guardrail", started)

    def look_up(self, turn: Turn) -> Turn:
        """Retrieve passages, unless an emergency, small talk or an off-limits request makes that moot."""
        verdict = turn.verdict
        if verdict.level == "emergency" or verdict.failed or verdict.language != "en" or turn.scope != "question":
            return turn
        started = time.perf_counter()
        try:
            retriever = self.open_retriever()
        except BadIndex as error:
            log.error("index: %s", error)
            return replace(turn, outcome="error", text=read_replies()["error_index"])
        retrieved = retriever.retrieve(standalone(turn.messages))
        return _timed(replace(turn, retriever=retriever, retrieved=retrieved), "retrieve", started)

    def answer(self, turn: Turn) -> Turn:
        """Draft an answer from the passages, or say why there is none."""
        replies = read_replies()
        if turn.verdict.language != "en":
            language = read_languages().get(turn.verdict.language)
            return replace(turn, outcome="declined", text=language.english_only if language else replies["english_only"])
        if turn.scope.startswith("smalltalk"):
            return replace(turn, outcome="smalltalk", text=replies[turn.scope])
        if turn.scope.startswith("declined"):
            return replace(turn, outcome="declined", text=replies[turn.scope])
        if turn.retrieved is None or turn.retriever is None:
            return turn
        started = time.perf_counter()
        found = turn.retrieved
        if kind := declined(found):
            return _timed(replace(turn, outcome="declined", text=replies[kind]), "answer", started)
        if not found.passages or found.answerable < read_weights().threshold:
            nearest = suggestions(found, turn.messages)
            offer = "\n\n" + replies["no_answer_nearest"] + "\n" + "\n".join(f"- {q}" for q in nearest) if nearest else ""
            return _timed(
                replace(turn, outcome="no_answer", text=replies["no_answer"] + offer, follow_ups=tuple(nearest)), "answer", started
            )
        draft = self.write(found, turn.messages) if self.write else None
        if draft is None:
            draft = extract(found, told=_told(turn.messages))
        return _timed(replace(turn, draft=draft, model=draft.model), "answer", started)

    def cite(self, turn: Turn) -> Turn:
        """Set the marks; a sentence without a source falls out here, and one line on when to get help comes last."""
        if turn.draft is None or turn.retriever is None or turn.retrieved is None:
            return turn
        index = turn.retriever.index
        safe = [s for s in turn.draft.sentences if s.is_lead or unsafe(s.text) is None]
        net = [] if turn.verdict.level != "none" else _safety_net(turn, safe)
        text, citations = resolve([*safe, *net], index)
        if not any(not s.is_lead for s in safe) or not citations:
            return replace(turn, outcome="no_answer", text=read_replies()["no_answer"])
        return replace(turn, text=text, citations=tuple(citations), follow_ups=tuple(suggestions(turn.retrieved, turn.messages)))

    def guard_reply(self, turn: Turn) -> Turn:
        """Check the outgoing text once more, whoever wrote it."""
        if turn.outcome == "answered" and any(unsafe(line) for line in re.split(r"(?<=[.!?\]])\s+", turn.text)):
            return replace(turn, outcome="declined", text=read_replies()["withheld"], citations=(), follow_ups=())
        return turn

    def finish(self, turn: Turn) -> Reply:
        """Put the reply together: where there is advice, it comes first, and in an emergency nothing follows it."""
        verdict = turn.verdict
        advice = write_advice(verdict, region=turn.region, turn=len(turn.messages) - 1)
        timings = Timings(**{key: round(value, 2) for key, value in turn.spent_ms.items()})
        if advice and (verdict.level == "emergency" or verdict.failed or verdict.language != "en"):
            return Reply(
                text=advice,
                outcome="escalated" if not verdict.failed else "error",
                escalation=Escalation(
                    level=verdict.level if not verdict.failed else "see_doctor", flags=list(verdict.flags), advice=advice
                ),
                model="extractive",
                timings_ms=timings,
            )
        text = turn.text
        if advice:
            text = f"{advice}\n\n---\n\n{turn.text}" if turn.outcome == "answered" else advice
        elif verdict.retracted:
            text = f"{read_policy().phrases.retracted}\n\n{turn.text}"
        elif verdict.doubtful and turn.outcome in ("answered", "no_answer"):
            text = f"{turn.text}\n\n{question_for(verdict, turn.region)}"
        return Reply(
            text=text,
            outcome="escalated" if advice else turn.outcome,
            escalation=Escalation(level=verdict.level, flags=list(verdict.flags), advice=advice),
            citations=list(turn.citations),
            follow_ups=list(turn.follow_ups),
            model=turn.model,
            timings_ms=timings,
        )

    def failed(self, turn: Turn) -> Reply:
        """Return the reply for a turn that broke: the guardrail's advice if it ran, else the danger signs."""
        verdict = turn.verdict if turn.verdict.level != "none" else check_message(turn.messages)
        if verdict.level != "none" or verdict.failed:
            return self.finish(replace(turn, verdict=verdict, outcome="error", text=""))
        return Reply(text=read_replies()["error_index"], outcome="error")


def question_for(verdict: Verdict, region: str | None) -> str:
    """Return the one question that would decide a doubtful case, with the danger signs' advice where the flag is an emergency."""
    policy = read_policy()
    flag = policy.flags[verdict.doubtful] if verdict.doubtful else policy.flags["other"]
    return flag.ask.format(**policy.region(region).model_dump())


def _told(messages: Sequence[Message]) -> str:
    """Return what we answered last, where the new message only points back to it: more of the same is wanted, not the same."""
    if len(messages) < 2 or messages[-2].role != "assistant" or not points_back(messages[-1].content):
        return ""
    return messages[-2].content


def declined(retrieved: Retrieved) -> str:
    """Return the name of the reply that declines what was asked, or '' where it is a question for the articles."""
    weights = read_weights()
    if retrieved.kinds.get("out_of_scope", 0.0) >= weights.off_topic:
        return DECLINED["out_of_scope"]
    kind = max(retrieved.kinds, key=lambda name: retrieved.kinds[name], default="")
    return DECLINED.get(kind, "") if retrieved.answerable < weights.threshold else ""


def suggestions(retrieved: Retrieved, messages: Sequence[Message], limit: int = 3) -> list[str]:
    """Return questions that the articles answer: the headings next to what was found, one an article, not asked before."""
    asked = {message.content.strip().lower() for message in messages}
    out: list[str] = []
    first = retrieved.passages[0].chunk.id if retrieved.passages else ""
    articles: set[str] = set()
    for passage in retrieved.passages:
        heading = passage.chunk.heading
        if passage.chunk.id == first or heading.lower() in asked or heading in out or passage.chunk.article_id in articles:
            continue
        out.append(heading)
        articles.add(passage.chunk.article_id)
    return out[:limit]


def _safety_net(turn: Turn, chosen: Sequence[DraftSentence]) -> list[DraftSentence]:
    """Return the line that says when to get help, from the section that the leading article names."""
    assert turn.retriever and turn.retrieved
    index = turn.retriever.index
    cited = next((chunk_id for s in chosen for chunk_id, _ in s.cites if chunk_id in index.chunks), None)
    target = index.sections.get(index.chunks[cited].safety_net) if cited else None
    if target is None:
        return []
    sentence = index.chunks[target].sentences[0].text
    if any(sentence == s.text for s in chosen):
        return []
    return [DraftSentence(sentence, ((target, sentence),))]


def _timed(turn: Turn, step: str, started: float) -> Turn:
    return replace(turn, spent_ms={**turn.spent_ms, step: 1000 * (time.perf_counter() - started)})
