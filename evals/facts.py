"""Finds out whether an answer states a key fact, without a model that writes: near in meaning, and none of six signs to the contrary.

Facts come in lay words and answers in vetted ones, so nearness is the cosine of the product's own sentence vectors. Nearness cannot tell
"does" from "does not", 12 from 21, or the gel from the tablet; that is what the signs are for: a quantity that the answer lacks, a denial
on one side only, an opposite, a comparison turned round, a bolder claim, one thing swapped for another. All words and limits are in
`facts.yaml`; how far to trust the verdicts is measured on labelled pairs (`evals/validate.py`).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, field_validator

from bot.retrieve import STOP
from bot.settings import default_index
from ingest.embed import PLAIN_MODEL, Embedder, OnnxEmbedder, Vectors

WORD = re.compile(r"[a-z][a-z'-]+")
NUMBER = r"(\d+(?:\.\d+)?)"
RATIO = re.compile(rf"{NUMBER}\s*(?:in|out of|of)\s*(?:a |the )?{NUMBER}\b(?! ?(?:hour|day|week|month|year))")
PERCENT = re.compile(rf"{NUMBER} ?(?:%|percent\b|per cent\b)")
CLAUSE = re.compile(r"[,;:]\s+|\s+(?:but|and so|so|because|although|though|as|while)\s+")
STEM = 5
"""Letters in which two forms of a word agree."""
SHARED_WEIGHT, LACK_WEIGHT = 0.5, 0.3
"""How much shared words and a missing quantity count, beside the cosine, when the nearest span is looked for."""


class Words(BaseModel):
    """`facts.yaml`, read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    similarity: float
    similar_but_odd: float
    mostly_shared: float
    quantity_tolerance: float
    denials: re.Pattern[str]
    bold: re.Pattern[str]
    careful: re.Pattern[str]
    opposites: list[tuple[str, str]]
    numbers: list[str]
    days: dict[str, float]

    @field_validator("denials", "bold", "careful", mode="before")
    @classmethod
    def _whole_words(cls, value: str) -> re.Pattern[str]:
        alternatives = re.sub(r"[|]\s+", "|", value.strip())
        return re.compile(rf"\b(?:{alternatives})\b", re.IGNORECASE)


@lru_cache(maxsize=1)
def read_words(path: Path = Path(__file__).parent / "facts.yaml") -> Words:
    """Read `facts.yaml`."""
    return Words.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Span:
    """A sentence of an answer or two in a row, and how near it, or its nearest clause, is to a fact (cosine)."""

    text: str
    nearness: float


class Matcher:
    """Says whether sentences state a fact. Vectors are kept, since the same sentence is held against many facts."""

    def __init__(self, embedder: Embedder) -> None:
        """Keep the embedding model."""
        self.embedder = embedder
        self._known: dict[str, Vectors] = {}

    def states(self, fact: str, sentences: Sequence[str]) -> bool:
        """Say whether a sentence, or two in a row, state the fact. Only the nearest is judged: the more are tried, the more chance helps."""
        return bool(sentences) and self._agrees(fact, max(self._spans(fact, sentences), key=lambda span: _rank(fact, span)))

    def _agrees(self, fact: str, span: Span) -> bool:
        words = read_words()
        return (
            span.nearness >= words.similarity
            and not _lacks_quantity(fact, span.text)
            and bool(words.denials.search(fact)) == bool(words.denials.search(span.text))
            and not _opposes(fact, span.text)
            and not _is_bolder(fact, span.text)
            and not self._is_turned_round(fact, span.text)
            and not self._swaps_one_thing(fact, span.text)
        )

    def _spans(self, fact: str, sentences: Sequence[str]) -> Iterator[Span]:
        clauses = [_clauses(sentence) for sentence in sentences]
        # All at once: the model reads thirty short texts in little more time than one.
        vectors = self._vectors([fact, *sentences, *(clause for parts in clauses for clause in parts)])
        whole, rest = vectors[1 : len(sentences) + 1], iter((vectors[len(sentences) + 1 :] @ vectors[0]).tolist())
        nearest = [
            max([cosine, *(next(rest) for _ in parts)]) for cosine, parts in zip((whole @ vectors[0]).tolist(), clauses, strict=True)
        ]
        yield from map(Span, sentences, nearest)
        # The vector of two sentences is close to the mean of theirs, so they need not be read together.
        pairs = whole[:-1] + whole[1:]
        cosines = (pairs @ vectors[0] / np.linalg.norm(pairs, axis=1)).tolist()
        for (a, b), near, cosine in zip(pairwise(sentences), pairwise(nearest), cosines, strict=True):
            yield Span(f"{a} {b}", max(*near, cosine))

    def _is_turned_round(self, fact: str, span: str) -> bool:
        """Say whether what stands before 'than' in one stands after it in the other."""
        if " than " not in fact or " than " not in span:
            return False
        left, right, other_left, other_right = self._vectors([*fact.split(" than ", 1), *span.split(" than ", 1)])
        return bool(left @ other_right + right @ other_left > left @ other_left + right @ other_right)

    def _swaps_one_thing(self, fact: str, span: str) -> bool:
        """Say whether the fact is mostly in the span's own words, save for one that is like none of them."""
        words = read_words()
        asked, has = _content(fact), _content(span)
        if not asked or not has:
            return False
        if not words.mostly_shared <= _shared(fact, span) < 1:
            return False
        nearest = (self._vectors(asked) @ self._vectors(has).T).max(axis=1)
        return bool(nearest.min() < words.similar_but_odd)

    def _vectors(self, texts: Sequence[str]) -> Vectors:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known.update(zip(new, self.embedder.embed(new), strict=True))
        return np.stack([self._known[text] for text in texts])


@lru_cache(maxsize=1)
def open_matcher() -> Matcher:
    """Open the matcher with the default embedding model, whatever model the bot uses: a ruler does not change with what it measures."""
    return Matcher(OnnxEmbedder(default_index() / "models", PLAIN_MODEL))


def _rank(fact: str, span: Span) -> float:
    return span.nearness + SHARED_WEIGHT * _shared(fact, span.text) - LACK_WEIGHT * _lacks_quantity(fact, span.text)


def _clauses(span: str) -> list[str]:
    return [clause for clause in CLAUSE.split(span) if len(clause.split()) > 2]


@lru_cache(maxsize=50_000)
def _content(text: str) -> list[str]:
    numbers = read_words().numbers
    return [w for w in dict.fromkeys(WORD.findall(text.lower())) if len(w) > 2 and w not in STOP and w not in numbers]


def _shared(fact: str, span: str) -> float:
    """Return the share of the fact's content words that the span has."""
    asked = {word[:STEM] for word in _content(fact)}
    return len(asked & {word[:STEM] for word in _content(span)}) / len(asked) if asked else 0.0


def _opposes(fact: str, span: str) -> bool:
    has, asked = set(WORD.findall(span.lower())), set(WORD.findall(fact.lower()))
    pairs = [pair for a, b in read_words().opposites for pair in ((a, b), (b, a))]
    return any(a in asked and a not in has and b in has for a, b in pairs)


def _is_bolder(fact: str, span: str) -> bool:
    """Say whether the fact claims proof, cure or everybody where the span does not, or only with care."""
    words = read_words()
    if not words.bold.search(fact):
        return False
    is_careful = bool(words.careful.search(span)) and not words.careful.search(fact) and not words.denials.search(fact)
    return not words.bold.search(span) or is_careful


def _lacks_quantity(fact: str, span: str) -> bool:
    asked = _quantities(fact)
    given = _quantities(span) if asked else []
    return any(not any(_same(one, other) for other in given) for one in asked)


def _same(a: tuple[str, float], b: tuple[str, float]) -> bool:
    tolerance = 0.0 if a[0] == "number" else read_words().quantity_tolerance
    return a[0] == b[0] and abs(a[1] - b[1]) <= tolerance * max(a[1], b[1])


@lru_cache(maxsize=50_000)
def _quantities(text: str) -> list[tuple[str, float]]:
    """Return shares in per cent, durations in days, and other numbers, so that one in five is 20% and twelve weeks three months."""
    words = read_words()
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text.lower())
    text = re.sub(r"\b[a-z]+\b", lambda m: str(words.numbers.index(m[0])) if m[0] in words.numbers else m[0], text)
    found = [("share", 100 * float(match[1]) / float(match[2])) for match in RATIO.finditer(text) if float(match[2])]
    text = RATIO.sub(" ", text)
    found += [("share", float(match[1])) for match in PERCENT.finditer(text)]
    text = PERCENT.sub(" ", text)
    unit = re.compile(rf"{NUMBER}[ -]({'|'.join(words.days)})s?\b")
    found += [("days", float(match[1]) * words.days[match[2]]) for match in unit.finditer(text)]
    return found + [("number", float(number)) for number in re.findall(NUMBER, unit.sub(" ", text))]
