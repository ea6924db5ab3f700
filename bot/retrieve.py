"""Finds the passages that answer a question: dense and lexical search over the same chunks, fused, with lay words added."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import bm25s
import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict

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
FOLLOW_UP = re.compile(
    r"^\W*(and|but|so|also|ok|okay|what about|how about|why|how (often|long|many|much|come|soon|far|fast)|when|is (that|it|this)|are (they|those|these)|does (it|that)|do (they|those)|"
    r"can i (do|use|take) (it|them|that|those)|should i (do|use|take) (it|them|that)|which (one|ones)|tell me more|more|really|for how long|any (other|more|side effects)|anything else)\b|"
    r"\b(it|they|them|that|those|these|this one|the other|the first|the second)\b",
    re.IGNORECASE,
)


class Weights(BaseModel):
    """`retrieve.yaml`, read: how the legs are fused, and how relevance becomes a probability."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lexical: float
    passages: int
    near_best: float
    answerable: dict[str, float]
    threshold: float
    audience_penalty: float
    audiences: dict[str, re.Pattern[str]]


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

        The score is the cosine similarity of the nearest of the chunk's vectors plus the weighted lexical score in [0, 1];
        ties break by ascending chunk id.
        """
        weights = read_weights()
        expanded = self.expand(query)
        vector = self.embed(query) if vector is None else vector
        dense = self.index.nearest(vector, records=min(RECORDS, max(4 * top_k, 20)))
        lexical = self._lexical(expanded)
        floor = min(dense.values(), default=0.0)
        ids = {*dense, *sorted(lexical, key=lambda i: -lexical[i])[:top_k]}
        lowered = query.lower()
        off = {name for name, pattern in weights.audiences.items() if not pattern.search(lowered)}
        scored = sorted(
            ((dense.get(i, floor) + weights.lexical * lexical.get(i, 0.0) - self._misfit(i, off, weights), i) for i in ids),
            key=lambda pair: (-pair[0], pair[1]),
        )
        return [
            Passage(self.index.chunks[i], round(score, 6), round(dense.get(i, floor), 6), rank)
            for rank, (score, i) in enumerate(scored[:top_k], start=1)
        ]

    def _misfit(self, chunk_id: str, off: set[str], weights: Weights) -> float:
        """Return the penalty of a chunk written only for groups that the question does not speak of."""
        return weights.audience_penalty if any(name in off for name in self.index.chunks[chunk_id].audience) else 0.0

    def retrieve(self, query: str) -> Retrieved:
        """Return the passages for a question and how likely they hold its answer."""
        weights = read_weights()
        vector = self.embed(query)
        found = self.search(query, top_k=weights.passages, vector=vector)
        return Retrieved(query, tuple(found), self.answerable(query, found))

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

    def answerable(self, query: str, found: Sequence[Passage]) -> float:
        """Return the calibrated probability that the passages hold an answer (logistic; coefficients in `retrieve.yaml`)."""
        if not found:
            return 0.0
        a = read_weights().answerable
        covered = self._coverage(query, found[0].chunk)
        z = a["intercept"] + a["similarity"] * found[0].similarity + a["coverage"] * covered
        return float(1.0 / (1.0 + np.exp(-z)))

    def _coverage(self, query: str, chunk: Chunk) -> float:
        """Return the share of the query's word weight (idf) that the chunk has; unknown words weigh most."""
        asked = set(words(self.expand(query)))
        if not asked:
            return 0.0
        has = set(words(f"{chunk.embedded_text} {' '.join(chunk.questions)}"))
        rarest = max(self._lexicon.idf.values(), default=1.0)
        weight = {word: self._lexicon.idf.get(word, rarest) for word in asked}
        return sum(value for word, value in weight.items() if word in has) / (sum(weight.values()) or 1.0)

    def _lexical(self, query: str) -> dict[str, float]:
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


def standalone(messages: Sequence[Message]) -> str:
    """Return the question to search for: the last message, with the subject of the one before it when it only points back.

    A message that names its own subject is searched as it is, so that a change of subject is noticed.
    """
    users = [message.content for message in messages if message.role == "user"]
    last = users[-1]
    if len(users) < 2 or not FOLLOW_UP.search(last):
        return last
    own = [word for word in words(last) if len(word) > 3]
    if len(own) > 5:
        return last
    return f"{users[-2][-300:]} {last}"
