"""Takes the text of a reply apart: what is fixed wording, and which sentences of content carry which marks."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from kb.article import INNER_BOUNDARY
from kb.red_flags import read_policy

MARKS = re.compile(r"(?:\s*\[\d+\])+")
NUMBER = re.compile(r"\[(\d+)\]")
UNKNOWN = "unknown"
"""The outcome of a reply by a system that names none."""
RULE = "\n\n---\n\n"


@dataclass(frozen=True)
class Claim:
    """A sentence of content and the numbers of its marks."""

    text: str
    marks: tuple[int, ...]


def is_answered(reply: dict[str, Any]) -> bool:
    """Say whether a reply answers from the articles; one that escalates may do so after its advice.

    A system that does not say what its reply is counts as answering whenever it writes something.
    """
    if reply["outcome"] == UNKNOWN:
        return bool(reply["text"].strip())
    return reply["outcome"] == "answered" or (reply["outcome"] == "escalated" and bool(reply["citations"]))


def content_of(reply: dict[str, Any]) -> str:
    """Return the answer proper: without the advice before it and without the fixed wording around it."""
    text = reply["text"]
    advice = reply["escalation"]["advice"] if reply["escalation"] else ""
    if advice:
        text = text.removeprefix(advice).removeprefix(RULE)
    return "\n\n".join(part for part in text.split("\n\n") if part.strip() not in _fixed_wording())


def claims_of(reply: dict[str, Any]) -> list[Claim]:
    """Return the sentences of content in order. A list's lead-in, which ends with a colon, claims nothing.

    Where two sentences share one mark, the mark is the last one's.
    """
    claims = []
    for line in content_of(reply).splitlines():
        line = line.strip().removeprefix("- ")
        position = 0
        for match in MARKS.finditer(line):
            *before, last = _sentences(line[position : match.start()].lstrip(" .")) or [""]
            claims += [Claim(text, ()) for text in before]
            claims.append(Claim(last, tuple(int(n) for n in NUMBER.findall(match[0]))))
            position = match.end()
        rest = line[position:].strip(" .*")
        if rest and not rest.endswith(":"):
            claims += [Claim(text, ()) for text in _sentences(rest)]
    return claims


def plain_of(reply: dict[str, Any]) -> str:
    """Return the answer proper without marks and bullets, one sentence or list item a line."""
    return "\n".join(claim.text for claim in claims_of(reply))


def sentences_of(text: str) -> list[str]:
    """Return the sentences of a text, which may hold Markdown bullets."""
    lines = (line.strip().removeprefix("- ") for line in text.splitlines())
    return [sentence for line in lines if line for sentence in _sentences(line)]


def _sentences(text: str) -> list[str]:
    out, start = [], 0
    for match in INNER_BOUNDARY.finditer(text):
        out.append(text[start : match.start() + 1].strip())
        start = match.end()
    return [part for part in (*out, text[start:].strip()) if part]


@lru_cache(maxsize=1)
def _fixed_wording() -> frozenset[str]:
    policy = read_policy()
    asked = {flag.ask.format(**region.model_dump()) for flag in policy.flags.values() for region in policy.regions.values()}
    return frozenset(asked | {policy.phrases.retracted})
