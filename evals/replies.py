"""Observes whole replies, through the same entry point as every door of the product, and times them.

Suites that look at replies share one observation of each question. Rivals: a bot that always abstains, and bots that give the best
passage whole, found by the product's retrieval or by words alone; stock LangChain as a baseline.
"""

from functools import partial
from typing import Any

from bot.chain import Chain
from bot.cite import resolve
from bot.retrieve import standalone
from bot.settings import Settings
from bot.turn import DraftSentence, Message, Reply
from evals.case import Case, read_questions
from evals.live import open_bot
from evals.measure import Measure, Observe, Observed, Opened, Scored
from evals.progress import Tick
from evals.retrieval import by_words
from evals.stock import dump, open_stock
from evals.suite import Suite
from ingest.index import Index

WARM_UP = "Is walking good for back pain?"


def open_replies(settings: Settings, suite: Suite, tick: Tick | None) -> Opened:
    """Open the bot and its rivals."""
    bot = open_bot(settings)
    retriever = bot.open_retriever()

    def best(case: Case) -> Observed:
        found = retriever.search(case.messages[-1].content, top_k=1)
        return passage_whole(retriever.index, found[0].chunk.id if found else None)

    def best_by_words(case: Case) -> Observed:
        return passage_whole(retriever.index, next(iter(by_words(retriever, case.messages[-1].content)), None))

    rivals: dict[str, Observe] = {"always abstain": abstain, "best passage whole": best, "best by BM25 whole": best_by_words}
    return Opened(
        observer_of(bot),
        rivals,
        retriever.index.manifest.fingerprint,
        baselines={"stock LangChain": lambda: partial(dump, open_stock(retriever, settings.index / "evals"))},
    )


def observer_of(bot: Chain) -> Observe:
    """Return a function that gives a case to the bot and keeps the reply, the cited passages, and how sure retrieval was."""

    def observe(case: Case) -> Observed:
        reply = bot.respond(case.messages)
        retriever = bot.open_retriever()
        found = retriever.retrieve(standalone(case.messages))
        retrieved = {passage.chunk.id: passage.chunk.text for passage in found.passages}
        return observed(reply, retriever.index) | {"confidence": round(found.answerable, 6), "retrieved": retrieved}

    return observe


def observed(reply: Reply, index: Index) -> Observed:
    """Return a reply as stored, with the text of each cited passage (None: there is no such passage)."""
    chunks = {citation.chunk_id: index.chunks.get(citation.chunk_id) for citation in reply.citations}
    # Times differ from run to run; the latency suite measures them on their own.
    return {
        "reply": reply.model_dump(mode="json", exclude={"timings_ms"}),
        "passages": {name: chunk.text if chunk else None for name, chunk in chunks.items()},
        "confidence": None,
        "retrieved": None,
    }


def abstain(case: Case) -> Observed:
    """Never answer."""
    return {
        "reply": Reply(text="I do not know.", outcome="no_answer").model_dump(mode="json"),
        "passages": {},
        "confidence": None,
        "retrieved": None,
    }


def passage_whole(index: Index, chunk_id: str | None) -> Observed:
    """Answer with every sentence of one passage."""
    if chunk_id is None:
        return observed(Reply(text="I do not know.", outcome="no_answer"), index)
    sentences = [
        DraftSentence(s.text, ((chunk_id, s.text),), is_item=s.is_item, is_lead=s.is_lead) for s in index.chunks[chunk_id].sentences
    ]
    text, citations = resolve(sentences, index)
    return observed(Reply(text=text, outcome="answered", citations=citations), index)


def open_timed(settings: Settings, suite: Suite, tick: Tick | None) -> Opened:
    """Open the bot, warm, to be timed; asked one question at a time."""
    bot = open_bot(settings)
    bot.respond([Message(role="user", content=WARM_UP)])

    def observe(case: Case) -> Observed:
        reply = bot.respond(case.messages)
        return {"outcome": reply.outcome, "timings_ms": reply.timings_ms.model_dump()}

    return Opened(observe, {}, bot.open_retriever().index.manifest.fingerprint)


def score_time(case: Case, seen: Observed) -> Scored:
    """Keep the milliseconds of a reply; one that ended in an error is not measured."""
    times: dict[str, Any] = seen["timings_ms"]
    failed = seen["outcome"] == "error"
    parts = ", ".join(f"{name} {ms:.0f} ms" for name, ms in times.items())
    return Scored({"ms": None if failed else times["total"]}, not failed, parts, "the reply was an error" if failed else "")


LATENCY = Measure(
    "latency", ("p50_ms", "p95_ms", "p99_ms"), lambda suite: read_questions(suite.data), open_timed, score_time, parallel=False
)
