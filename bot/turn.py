"""The values on the line of one turn, from message to reply. Imports no sibling."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ingest.chunk import Chunk
from ingest.embed import Vectors
from kb.red_flags import Code, Level

Outcome = Literal["answered", "escalated", "no_answer", "declined", "smalltalk", "error"]
MAX_CHARACTERS = 8000
"""Of one message; a longer one is refused with a clear line, save that the guardrail still reads its beginning and end."""
MAX_MESSAGES = 200


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Message(_Frozen):
    """One turn of a conversation."""

    role: Literal["user", "assistant"]
    content: str


class FlagFound(_Frozen):
    """A red flag, the person's own words that led to it, and the message (from 0) that they stand in."""

    code: Code
    evidence: str
    turn: int


class Escalation(_Frozen):
    """How soon to be seen, why, and what to do; `advice` is empty when the level is none."""

    level: Level = "none"
    flags: list[FlagFound] = Field(default_factory=list)
    advice: str = ""


class SourceRef(_Frozen):
    """A source as shown with a citation."""

    id: str
    title: str
    publisher: str
    year: int | str
    url: str


class Citation(_Frozen):
    """What a mark [n] stands for. `quote` is found verbatim in the chunk."""

    n: int
    chunk_id: str
    article_id: str
    title: str
    section: str
    quote: str
    url: str
    sources: list[SourceRef]
    evidence: str = ""
    checked: str = ""
    review_status: str = ""


class Timings(_Frozen):
    """Milliseconds spent in each step."""

    guardrail: float = 0.0
    retrieve: float = 0.0
    answer: float = 0.0
    total: float = 0.0


class Reply(_Frozen):
    """One reply, the same through every door."""

    text: str
    outcome: Outcome
    escalation: Escalation = Escalation()
    citations: list[Citation] = Field(default_factory=list)
    follow_ups: list[str] = Field(default_factory=list)
    model: str = "extractive"
    timings_ms: Timings = Timings()


@dataclass(frozen=True)
class Verdict:
    """What the guardrail says of a conversation. `failed`: it could not run, so the advice is given unasked."""

    level: Level = "none"
    flags: tuple[FlagFound, ...] = ()
    retracted: bool = False
    failed: bool = False
    doubtful: Code | None = None
    language: str = "en"


@dataclass(frozen=True)
class Passage:
    """A retrieved chunk. `score` is the fused relevance (higher is better); `similarity` and `said` are cosines to the query.

    `similarity` is that of the chunk or of a question that it answers, `said` that of its nearest sentence.
    """

    chunk: Chunk
    score: float
    similarity: float
    rank: int
    said: float = 0.0


@dataclass(frozen=True)
class Retrieved:
    """What retrieval found: passages best first, the query as searched, and the probability that they hold an answer.

    `vector` is the query's, shape (1, d); `sentences` are those of the passages, by (chunk id, position). `kinds` are the probabilities of
    what the question is (`bot.head`). A message that asks several things has what was found for each of them in `parts`.
    """

    query: str
    passages: tuple[Passage, ...]
    answerable: float
    vector: Vectors = field(repr=False, compare=False, default_factory=lambda: np.zeros((1, 0), dtype=np.float32))
    sentences: Mapping[tuple[str, int], Vectors] = field(repr=False, compare=False, default_factory=dict)
    kinds: Mapping[str, float] = field(default_factory=dict)
    parts: "tuple[Retrieved, ...]" = ()


@dataclass(frozen=True)
class DraftSentence:
    """One sentence of an answer with the chunks that it cites; `lead` opens a list and needs no mark."""

    text: str
    cites: tuple[tuple[str, str], ...]
    is_item: bool = False
    is_lead: bool = False


@dataclass(frozen=True)
class Draft:
    """An answer before its marks are set: sentences, and who wrote it."""

    sentences: tuple[DraftSentence, ...] = ()
    model: str = "extractive"
    dropped: tuple[str, ...] = field(default=())
