"""Writes the extractive answer: chooses vetted sentences for the question and puts them in a natural order."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict

from bot.turn import Draft, DraftSentence, Passage, Retrieved
from ingest.embed import Vectors


class Composition(BaseModel):
    """`answer.yaml`, read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    words_max: int
    words_enough: int
    sentences_max: int
    passage: float
    lead: float
    margin: float
    repeats: float


@lru_cache(maxsize=1)
def read_composition(path: Path = Path(__file__).parent / "answer.yaml") -> Composition:
    """Read how answers are put together."""
    return Composition.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def extract(retrieved: Retrieved, how: Composition | None = None, *, told: str = "") -> Draft:
    """Choose vetted sentences that answer the question, in a natural order, 40 to 150 words.

    The sentences nearest to the question win, whichever passage they stand in, the better passages first. A message of several questions
    gets its share of words for each. What the person was `told` before is not said again, unless nothing else is left.
    """
    how = how or read_composition()
    parts = retrieved.parts or (retrieved,)
    vectors = {key: vector for part in parts for key, vector in part.sentences.items()}
    chosen: list[tuple[Passage, int]] = []
    for part in parts:
        chosen += _choose(part, how, vectors, chosen, room=how.words_max // len(parts), told=told)
    if told and not chosen:
        return extract(retrieved, how)
    return Draft(tuple(_ordered(chosen)))


def _choose(
    part: Retrieved,
    how: Composition,
    vectors: Mapping[tuple[str, int], Vectors],
    before: Sequence[tuple[Passage, int]],
    *,
    room: int,
    told: str,
) -> list[tuple[Passage, int]]:
    chosen: list[tuple[Passage, int]] = []
    used = 0
    best: float | None = None
    for value, passage, number in _valued(part, how):
        text = passage.chunk.sentences[number].text
        size = len(text.split())
        best = value if best is None else best
        enough = min(how.words_enough, room)
        if len(chosen) >= how.sentences_max or (used >= enough and value < best - how.margin):
            break
        if (chosen and used + size > room) or text in told:
            continue
        key = (passage.chunk.id, number)
        said = [vectors[p.chunk.id, n] for p, n in [*before, *chosen]]
        if any((p.chunk.id, n) == key for p, n in before) or any(float(np.dot(vectors[key], other)) > how.repeats for other in said):
            continue
        chosen.append((passage, number))
        used += size
    return chosen


def _valued(part: Retrieved, how: Composition) -> list[tuple[float, Passage, int]]:
    """Return (value, passage, sentence) candidates, the most useful first."""
    top = part.passages[0].score
    out = []
    for passage in part.passages:
        for number, sentence in enumerate(passage.chunk.sentences):
            vector = part.sentences.get((passage.chunk.id, number))
            if sentence.is_lead or vector is None:
                continue
            value = float(np.dot(vector, part.vector[0])) - how.passage * (top - passage.score)
            if passage.rank == 1 and number == 0:
                value += how.lead
            out.append((value, passage, number))
    return sorted(out, key=lambda row: (-row[0], row[1].rank, row[2]))


def _ordered(chosen: Sequence[tuple[Passage, int]]) -> list[DraftSentence]:
    """Order by passage, the one with the best sentence first, then by place in it; a list's lead-in comes before its items."""
    place = {p.chunk.id: position for position, p in reversed(list(enumerate(p for p, _ in chosen)))}
    out: list[DraftSentence] = []
    last_lead: tuple[str, int] | None = None
    for passage, number in sorted(chosen, key=lambda pair: (place[pair[0].chunk.id], pair[1])):
        chunk = passage.chunk
        sentence = chunk.sentences[number]
        if sentence.is_item:
            lead = next((n for n in range(number, -1, -1) if chunk.sentences[n].is_lead), None)
            between = all(chunk.sentences[n].is_item for n in range(lead + 1, number)) if lead is not None else False
            if lead is not None and between and last_lead != (chunk.id, lead):
                out.append(DraftSentence(chunk.sentences[lead].text, (), is_lead=True))
                last_lead = (chunk.id, lead)
        out.append(DraftSentence(sentence.text, ((chunk.id, sentence.text),), is_item=sentence.is_item))
    return out
