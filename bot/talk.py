"""A conversation on the chat page: what the browser keeps of it, and how it is shown, saved and printed. Knows nothing of Gradio."""

import datetime as dt
import re
import uuid
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal

import yaml
from markupsafe import Markup
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bot.guardrail.advice import fail_closed_advice
from bot.pages import SURE, day, passage
from bot.render import page_file, plain, render, to_html
from bot.turn import MAX_MESSAGES, Citation, Message, Reply
from ingest.index import Index
from kb.red_flags import read_policy

MAX_EXCHANGES = MAX_MESSAGES // 2


class Exchange(BaseModel):
    """A question, the reply to it once there is one, and what the person thought of that."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(default_factory=lambda: uuid.uuid4().hex, max_length=40)
    question: str
    reply: Reply | None = None
    rating: Literal["up", "down"] | None = None


class Talk(BaseModel):
    """A conversation, as the browser keeps it: nothing of it stays on the server."""

    model_config = ConfigDict(extra="forbid")

    region: str = ""
    exchanges: list[Exchange] = Field(default_factory=list, max_length=MAX_EXCHANGES)

    def messages(self) -> list[Message]:
        """Return the turns for the chain; the last is the user's if its reply is missing."""
        out = []
        for exchange in self.exchanges:
            out.append(Message(role="user", content=exchange.question))
            if exchange.reply:
                out.append(Message(role="assistant", content=exchange.reply.text))
        return out

    def find(self, exchange_id: str) -> Exchange | None:
        """Return the exchange of that id."""
        return next((exchange for exchange in self.exchanges if exchange.id == exchange_id), None)

    def last_reply(self) -> Reply | None:
        """Return the newest reply, which says what is in force."""
        return next((exchange.reply for exchange in reversed(self.exchanges) if exchange.reply), None)


def read_talk(kept: str | None) -> Talk:
    """Read what the browser kept, as JSON; a conversation that is damaged or of another version begins anew."""
    try:
        return Talk.model_validate_json(kept or "{}")
    except ValidationError:
        return Talk()


class Wording(BaseModel):
    """`page.yaml`: the words of the page and its example questions by group."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    tagline: str
    invitation: str
    urgent: str
    lost: str
    points: list[tuple[str, str]]
    examples: dict[str, list[str]]


@lru_cache(maxsize=1)
def read_wording() -> Wording:
    """Read `page.yaml`."""
    return Wording.model_validate(yaml.safe_load(page_file("page.yaml")))


def show_log(talk: Talk, *, note: str = "", waiting: bool = False) -> str:
    """Return the conversation; before its first question, what the bot is for and what can be asked.

    Args:
        talk: the conversation.
        note: how far the content is reviewed, said where the conversation begins.
        waiting: whether the answer to the last question is on its way.
    """
    shown = [(exchange, _answer(exchange) if exchange.reply else None, _how_sure(exchange.reply)) for exchange in talk.exchanges]
    return render("log.html", exchanges=shown, wording=read_wording(), note=note, waiting=waiting)


def show_draft(text: str | None) -> str:
    """Return an answer as far as it has come; None before its first word."""
    if text is None:
        return render("draft.html", words=None)
    # Half of a mark or of bold text is held back until its end has come.
    whole = re.sub(r"\[\d*$", "", text)
    if whole.count("**") % 2:
        whole = whole[: whole.rindex("**")] + whole[whole.rindex("**") + 2 :]
    marks = {int(n): Markup('<span class="bt-mark">{}</span>').format(n) for n in set(re.findall(r"\[(\d+)\]", whole))}
    return render("draft.html", words=to_html(whole, marks=marks))


def show_banner(reply: Reply | None) -> str:
    """Return the escalation in force as an alert: how soon, what to do, the numbers as links; '' without one."""
    if reply is None or reply.escalation.level == "none":
        return ""
    level, advice = reply.escalation.level, reply.escalation.advice
    # Without a flag the check itself broke: then the whole advice, with the danger signs, is the banner.
    words = advice.split("\n\n")[0] if reply.escalation.flags else advice
    title = read_policy().levels[level].title if reply.escalation.flags else read_wording().title
    return render("banner.html", level=level, title=title, words=to_html(words, calls=True))


def show_lost(region: str) -> str:
    """Return what the browser shows in place of an answer when the server cannot be reached: the danger signs, with the region's numbers."""
    return render("lost.html", wording=read_wording(), advice=to_html(fail_closed_advice(region), calls=True))


def show_source(citation: Citation, index: Index | None) -> str:
    """Return the panel of a citation: its section with the quoted words marked, and what stands behind them."""
    section = passage(index, citation) if index else []
    return render("source.html", citation=citation, section=section, sure=SURE.get(citation.evidence, ""), date=day(citation.checked))


def show_sheet(talk: Talk, now: dt.datetime) -> str:
    """Return the conversation on paper, with the same as Markdown beside it for saving."""
    rows = [(exchange.question, exchange.reply, _words(exchange.reply)) for exchange in talk.exchanges]
    return render("sheet.html", rows=rows, date=day(now.date().isoformat()), markdown=to_markdown(talk, now))


def to_markdown(talk: Talk, now: dt.datetime) -> str:
    """Return the conversation as Markdown, for taking to an appointment: each answer with its numbered sources."""
    return (
        render("talk.md", exchanges=talk.exchanges, date=day(now.date().isoformat()), quoted=_quoted, line=_one_line, inert=_inert).strip()
        + "\n"
    )


def _answer(exchange: Exchange) -> Markup:
    """Return a reply's words with its marks as buttons."""
    reply = exchange.reply
    assert reply
    marks = {citation.n: render("mark.html", exchange=exchange.id, citation=citation).strip() for citation in reply.citations}
    calls = reply.escalation.level != "none" or reply.outcome == "error"
    # What is offered as a button below need not stand in the words as well.
    lines = [line for line in reply.text.split("\n") if line.removeprefix("- ") not in reply.follow_ups]
    return to_html("\n".join(lines), marks=marks, calls=calls)


def _words(reply: Reply | None) -> Markup:
    return to_html(reply.text) if reply else plain("")


def _how_sure(reply: Reply | None) -> str:
    """Say in words how strong the evidence behind an answer is, by its marks where they differ."""
    grades: dict[str, list[int]] = {}
    for citation in reply.citations if reply else []:
        if citation.evidence in SURE:
            grades.setdefault(citation.evidence, []).append(citation.n)
    if not grades:
        return ""
    if len(grades) == 1:
        return SURE[next(iter(grades))]
    return "The evidence is " + "; ".join(f"{grade} for {_and(numbers)}" for grade, numbers in grades.items()) + "."


def _and(numbers: Iterable[int]) -> str:
    """Return ascending numbers as people say them: 1 to 4, 7 and 9."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts: list[str] = []
    for run in runs:
        parts += [f"{run[0]} to {run[-1]}"] if len(run) > 2 else map(str, run)
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def _quoted(text: str) -> Markup:
    """Return a person's words as a Markdown quotation; they cannot end it."""
    return Markup("\n").join(Markup("> {}").format(_inert(line)) for line in text.splitlines())


def _one_line(text: object) -> Markup:
    return _inert(" ".join(str(text).split()))


def _inert(text: str) -> Markup:
    """Return text for a Markdown file in which no markup, image or link of others comes to life; as `Markup`, since it is no page."""
    return Markup(re.sub(r"(<|!(?=\[)|\](?=[(:]))", r"\\\1", text))
