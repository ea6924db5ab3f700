"""Writes the answer from the passages: by choosing vetted sentences, or with a chat model that may only use them."""

import re
from collections.abc import Sequence

import numpy as np

from bot.turn import Draft, DraftSentence, Passage, Retrieved
from ingest.embed import Vectors
from ingest.index import Index

WORDS_MAX = 150
WORDS_ENOUGH = 95
SENTENCES_MAX = 8
HELP = re.compile(r"\b(see a|see your|call|get help|doctor|gp|emergency|same day|midwife|pharmacist)\b", re.IGNORECASE)
SURE = re.compile(
    r"\b(evidence|trial|trials|study|studies|review|reviews|guideline|guidelines|certain|certainty|proof|proven)\b", re.IGNORECASE
)


def extract(retrieved: Retrieved, index: Index, query_vector: Vectors, *, near_best: float) -> Draft:
    """Choose vetted sentences that answer the question, in a natural order, 40 to 150 words.

    The best section leads with its first sentence (it answers its heading) and is followed by its sentences nearest to the
    question in their own order; other sections add only what is near the question and not said yet.
    """
    passages = [p for p in retrieved.passages if p.score >= near_best * retrieved.passages[0].score]
    vectors = index.sentence_vectors([p.chunk.id for p in passages])
    chosen: list[tuple[Passage, int]] = []
    used = 0
    for passage, number in _ranked(passages, vectors, query_vector):
        sentence = passage.chunk.sentences[number]
        size = len(sentence.text.split())
        if used + size > WORDS_MAX or len(chosen) >= SENTENCES_MAX:
            continue
        foreign = passage.rank > 1
        if foreign and (used >= WORDS_ENOUGH or _repeats(vectors[passage.chunk.id, number], [vectors[p.chunk.id, n] for p, n in chosen])):
            continue
        chosen.append((passage, number))
        used += size
    return Draft(tuple(_ordered(chosen)))


def _ranked(passages: Sequence[Passage], vectors: dict[tuple[str, int], Vectors], query: Vectors) -> list[tuple[Passage, int]]:
    """Return (passage, sentence) candidates, the most useful first."""
    scored = []
    for passage in passages:
        for number, sentence in enumerate(passage.chunk.sentences):
            if sentence.is_lead or (passage.chunk.id, number) not in vectors:
                continue
            near = float(np.dot(vectors[passage.chunk.id, number], query[0]))
            lead = 0.5 if number == 0 else 0.0
            home = 1.0 if passage.rank == 1 else 0.0
            if not home and near < 0.45 and number:
                continue
            if not home and passage.similarity < 0.55:
                continue
            scored.append((home + lead * (0.6 if not home else 1.0) + near, -passage.rank, -number, passage, number))
    return [(passage, number) for _, _, _, passage, number in sorted(scored, key=lambda row: row[:3], reverse=True)]


def _repeats(vector: Vectors, others: list[Vectors]) -> bool:
    return any(float(np.dot(vector, other)) > 0.80 for other in others)


def _ordered(chosen: list[tuple[Passage, int]]) -> list[DraftSentence]:
    """Order by passage, then by place in it, and put a list's lead-in before its items."""
    rank = {p.chunk.id: position for position, p in reversed(list(enumerate(p for p, _ in chosen)))}
    out: list[DraftSentence] = []
    last_lead: tuple[str, int] | None = None
    for passage, number in sorted(chosen, key=lambda pair: (rank[pair[0].chunk.id], pair[1])):
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
