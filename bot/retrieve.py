"""Finds the passages that answer a question: dense and lexical search over the same chunks, fused, with lay words added."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import bm25s
import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict

from bot.head import read_head
from bot.turn import Message, Passage, Retrieved
from ingest.chunk import Chunk
from ingest.embed import Embedder, Vectors
from ingest.index import Index
from kb.article import KB_DIR

logging.getLogger("bm25s").setLevel(logging.WARNING)
RECORDS = 60
WORD = re.compile(r"[a-z0-9]+")
STOP = frozenset(
    "a an the and or but of to in on at for with my your his her their our i me you he she it we they is are was were be been am do does did "
    "can could should would will shall may might must have has had this that these those there here what which who when where why how if so as "
    "not no from by about into than then too very just get got any some im ive dont cant its s t".split()
)
# A message that points back to the one before it: by its first words, by a word that stands for something named, or by naming nothing itself.
OPENS_BACK = re.compile(
    r"^\W*(and|but|so|also|ok|okay|what about|how about|why( not)?|which (one|ones)|tell me more|more|for how long|any (other|more)|anything else)\b",
    re.IGNORECASE,
)
POINTS_BACK = re.compile(r"\b(it|its|they|them|that|those|these|this|one|ones|the other|the first|the second)\b", re.IGNORECASE)
ASKING = r"(?:what|how|which|when|where|why|who|should|can|could|is|are|am|do|does|did|will|would|has|have)"
CLAUSE = re.compile(rf"(?<=[?!.;\n])\s+|,?\s+(?:and|also|or|plus)\s+(?={ASKING}\b)", re.IGNORECASE)
ASKS = re.compile(rf"{ASKING}\b", re.IGNORECASE)
MAX_PARTS = 3
ENOUGH_WORDS = 2
OWN_SUBJECT, OWN_SUBJECT_POINTING = 1, 4
"""From this many words of its own a message stands alone; the second for one with a word that points back."""
CARRIED = 8
"""At most this many words are carried over from what was asked before."""


class Weights(BaseModel):
    """`retrieve.yaml`, read: how the legs are fused, and how relevance becomes a probability."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lexical: float
    sentence: float
    passages: int
    threshold: float
    off_topic: float
    audience_penalty: float
    audiences: dict[str, re.Pattern[str]]
    generic: str


@lru_cache(maxsize=1)
def read_weights(path: Path = Path(__file__).parent / "retrieve.yaml") -> Weights:
    """Read the weights."""
    return Weights.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


@lru_cache(maxsize=4)
def read_glossary(kb: Path = KB_DIR) -> dict[str, str]:
    """Read `glossary.yaml`: lay term to the clinical words that articles may use instead; empty if there is none."""
    path = kb / "glossary.yaml"
    if not path.is_file():
        return {}
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))["terms"]
    return {lay.lower(): entry["term"] for entry in entries for lay in entry["lay"]}


def words(text: str) -> list[str]:
    """Return the stemmed content words of a text, lower case."""
    return [_stem(word) for word in WORD.findall(text.lower().replace("'", "")) if word not in STOP]


def _stem(word: str) -> str:
    for ending in ("ings", "ing", "edly", "ed", "ies", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)] + ("y" if ending == "ies" else "")
    return word


@dataclass(frozen=True)
class _Lexicon:
    ids: list[str]
    bm25: bm25s.BM25
    idf: dict[str, float]


class Retriever:
    """Search over one opened index."""

    def __init__(self, index: Index, embedder: Embedder, *, glossary: dict[str, str] | None = None) -> None:
        """Prepare the lexical leg from the index's own chunks."""
        self.index = index
        self.embedder = embedder
        self.glossary = read_glossary() if glossary is None else glossary
        self._lexicon = _build_lexicon(list(index.chunks.values()))
        terms = sorted(self.glossary, key=len, reverse=True)
        self._lay = re.compile(r"\b(" + "|".join(re.escape(term) for term in terms) + r")\b") if terms else None

    def search(self, query: str, *, top_k: int, vector: Vectors | None = None) -> list[Passage]:
        """Return the passages for `query`, best first, at most `top_k`.

        The score is the weighted mean of two cosine similarities (that of the chunk or the nearest of its questions, and that of its
        nearest sentence), plus the weighted lexical score in [0, 1]; ties break by ascending chunk id.
        """
        weights = read_weights()
        vector = self.embed(query) if vector is None else vector
        records = min(RECORDS, max(4 * top_k, 20))
        near = self.index.nearest(vector, records=records)
        said = self.index.nearest_sentences(vector, records=records)
        by_words = self.lexical(self.expand(query))
        # What was not among the nearest is at most as near as the last of them.
        near_floor, said_floor = min(near.values(), default=0.0), min(said.values(), default=0.0)
        lowered = query.lower()
        off = {name for name, pattern in weights.audiences.items() if not pattern.search(lowered)}
        scored = []
        for i in {*near, *said, *sorted(by_words, key=lambda i: -by_words[i])[:top_k]}:
            dense = (near.get(i, near_floor) + weights.sentence * said.get(i, said_floor)) / (1.0 + weights.sentence)
            scored.append((dense + weights.lexical * by_words.get(i, 0.0) - self._misfit(i, off, weights), i))
        scored.sort(key=lambda pair: (-pair[0], pair[1]))
        return [
            Passage(
                self.index.chunks[i],
                round(score, 6),
                round(near.get(i, near_floor), 6),
                rank,
                round(said.get(i, said_floor), 6),
            )
            for rank, (score, i) in enumerate(scored[:top_k], start=1)
        ]

    def _misfit(self, chunk_id: str, off: set[str], weights: Weights) -> float:
        """Return the penalty of a chunk written only for groups that the question does not speak of."""
        return weights.audience_penalty if any(name in off for name in self.index.chunks[chunk_id].audience) else 0.0

    def retrieve(self, query: str) -> Retrieved:
        """Return the passages for a message and how likely they hold its answer; a message of several questions, for each of them."""
        parts = [self._retrieve_one(part) for part in split_questions(query)]
        known = [part for part in parts if part.answerable >= read_weights().threshold]
        if len(parts) == 1 or not known:
            return parts[0] if len(parts) == 1 else self._retrieve_one(query)
        if len(known) == 1:
            return known[0]
        passages: dict[str, Passage] = {}
        for passage in sorted((passage for part in known for passage in part.passages), key=lambda p: p.rank):
            passages.setdefault(passage.chunk.id, passage)
        ranked = tuple(replace(p, rank=rank) for rank, p in enumerate(list(passages.values())[: read_weights().passages], start=1))
        return Retrieved(query, ranked, max(part.answerable for part in known), vector=known[0].vector, parts=tuple(known))

    def _retrieve_one(self, query: str) -> Retrieved:
        weights = read_weights()
        vector = self.embed(query)
        found = tuple(self.search(query, top_k=weights.passages, vector=vector))
        sentences = self.index.sentence_vectors([passage.chunk.id for passage in found])
        kinds = read_head().kinds(vector[0], self.features(query, found)) if found else {}
        return Retrieved(query, found, kinds.get("answerable", 0.0), vector=vector, sentences=sentences, kinds=kinds)

    def embed(self, query: str) -> Vectors:
        """Return the query's unit vector, shape (1, d)."""
        return self.embedder.embed([self.expand(query)[:1000]])

    def expand(self, query: str) -> str:
        """Return the query with the clinical words for the lay terms in it."""
        if not self._lay:
            return query
        lowered = query.lower()
        added = [self.glossary[lay] for lay in dict.fromkeys(self._lay.findall(lowered)) if self.glossary[lay].lower() not in lowered]
        return f"{query} ({', '.join(dict.fromkeys(added))})" if added else query

    def features(self, query: str, found: Sequence[Passage]) -> list[float]:
        """Return what the head reads beside the question's vector: how near and how well covered the passages are, 8 numbers."""
        top = found[0]
        near, said = max(p.similarity for p in found), max(p.said for p in found)
        last = found[min(3, len(found) - 1)]
        covered = self._coverage(query, [top.chunk])
        covered_by_three = self._coverage(query, [p.chunk for p in found[:3]])
        return [top.score, top.similarity, top.said, near, said, top.score - last.score, covered, covered_by_three]

    def _coverage(self, query: str, chunks: Sequence[Chunk]) -> float:
        """Return the share of the query's word weight (idf) that the chunks have; unknown words weigh most."""
        asked = set(words(self.expand(query)))
        if not asked:
            return 0.0
        has = {word for chunk in chunks for word in words(f"{chunk.embedded_text} {' '.join(chunk.questions)}")}
        rarest = max(self._lexicon.idf.values(), default=1.0)
        weight = {word: self._lexicon.idf.get(word, rarest) for word in asked}
        return sum(value for word, value in weight.items() if word in has) / (sum(weight.values()) or 1.0)

    def lexical(self, query: str) -> dict[str, float]:
        """Return the chunks that share words with `query` (as expanded), best 30, scores scaled to (0, 1]."""
        tokens = [word for word in dict.fromkeys(words(query)) if word in self._lexicon.idf]
        if not tokens:
            return {}
        scores = self._lexicon.bm25.get_scores(tokens)
        top = float(scores.max())
        return {} if top <= 0 else {self._lexicon.ids[i]: float(scores[i]) / top for i in np.argsort(-scores)[:30] if scores[i] > 0}


def _build_lexicon(chunks: list[Chunk]) -> _Lexicon:
    tokens = [words(f"{chunk.embedded_text}\n{' '.join(chunk.questions)}") for chunk in chunks]
    bm25 = bm25s.BM25()
    bm25.index(tokens or [[""]], show_progress=False)
    counts: dict[str, int] = {}
    for row in tokens:
        for word in set(row):
            counts[word] = counts.get(word, 0) + 1
    idf = {word: float(np.log(1 + (len(chunks) - n + 0.5) / (n + 0.5))) for word, n in counts.items()}
    return _Lexicon([chunk.id for chunk in chunks], bm25, idf)


def split_questions(text: str) -> list[str]:
    """Return the questions that a message asks, at most `MAX_PARTS`; the message itself where it asks one.

    A question too short to stand alone takes along what the message says beside its questions.
    """
    clauses = [clause.strip(" ,;") for clause in CLAUSE.split(text) if clause.strip(" ,;")]
    asked = [clause for clause in clauses if clause.endswith("?") or ASKS.match(clause)]
    asked = [clause for clause in asked if any(len(word) > 2 for word in words(clause))]
    if not 1 < len(asked) <= MAX_PARTS:
        return [text]
    told = " ".join(clause for clause in clauses if clause not in asked)[-200:]
    return [clause if len(words(clause)) >= ENOUGH_WORDS or not told else f"{told} {clause}" for clause in asked]


def standalone(messages: Sequence[Message]) -> str:
    """Return the question to search for: the last message, followed by the subject of what was asked before when it only points back.

    A message that names its own subject is searched as it is, so that a change of subject is noticed.
    """
    users = [message.content for message in messages if message.role == "user"]
    question = users[0]
    for text in users[1:]:
        question = f"{text} ({_subject(question)})" if points_back(text) else text
    return question


def points_back(text: str) -> bool:
    """Return whether a message cannot be understood without the one before it."""
    own = len(set(words(text)) - _generic())
    if OPENS_BACK.match(text) or POINTS_BACK.search(text):
        return own < OWN_SUBJECT_POINTING
    return own < OWN_SUBJECT


def _subject(question: str) -> str:
    """Return the content words of a question as they were written, its own before those that it carried over."""
    spoken = [word for word in WORD.findall(question.lower().replace("'", "")) if word not in STOP]
    return " ".join(list(dict.fromkeys(spoken))[:CARRIED])


@lru_cache(maxsize=1)
def _generic() -> frozenset[str]:
    return frozenset(words(read_weights().generic))
