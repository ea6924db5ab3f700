"""Ingest against its floor and against the stock way, and how time, memory and size grow with the number of chunks."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from bot.settings import Settings
from evals.bench_memory import resident_mb
from ingest.build import build_index, passage_records, sentence_records
from ingest.chunk import Chunk
from ingest.cli import chunks_of, vet_folder
from ingest.embed import Embedder, Vectors, open_embedder
from ingest.index import Index, Store
from kb.article import Sentence


@dataclass(frozen=True)
class Growth:
    """What an index of `chunks` chunks costs."""

    chunks: int
    ingest_s: float
    query_ms: float
    size_mb: float
    resident_mb: float


class _Langchain(Embeddings):
    """Our embedder behind LangChain's door."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[float(x) for x in row] for row in self._embedder.embed(texts)]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


class _Drawn:
    """Random unit vectors of the model's size: growth is measured of the index, not of the embedding."""

    name = "drawn"

    def embed(self, texts: list[str]) -> Vectors:
        rows = np.random.default_rng(8).normal(size=(len(texts), 384)).astype(np.float32)
        drawn: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return drawn


def throughput(settings: Settings, folder: Path, *, limit: int | None = None) -> dict[str, float]:
    """Return seconds for the same texts: bare embedding, our ingest of them, and LangChain's `Chroma.from_documents`.

    Args:
        settings: of the bot.
        folder: an empty one to write in.
        limit: only so many chunks.
    """
    from langchain_chroma import Chroma

    chunks, sources = chunks_of(vet_folder(settings.kb), reviewed_only=False)
    chunks = chunks[:limit]
    embedder = open_embedder(settings.embedding_model, models=Store(settings.index).models)
    texts = list(dict.fromkeys(record.text for record in [*passage_records(chunks), *sentence_records(chunks)]))
    embedder.embed(texts[:32])
    times = {}
    started = time.perf_counter()
    for at in range(0, len(texts), 256):
        embedder.embed(texts[at : at + 256])
    times["bare"] = time.perf_counter() - started
    started = time.perf_counter()
    build_index(Store(folder / "ours"), chunks, sources, model=settings.embedding_model, open_model=lambda: embedder)
    times["ours"] = time.perf_counter() - started
    started = time.perf_counter()
    Chroma.from_documents([Document(page_content=text) for text in texts], _Langchain(embedder), persist_directory=str(folder / "stock"))
    times["stock"] = time.perf_counter() - started
    return times


def grow(folder: Path, chunks: int) -> Growth:
    """Index `chunks` made-up chunks with drawn vectors and query them."""
    base = Chunk("", "", "Title", "", "", "basics", ("general",), "mixed", "2026-01-01", "2099-01-01", "source-checked", "", "", (), ())
    made = []
    for number in range(chunks):
        text = f"Chunk {number} of {chunks}."
        chunk = replace(base, id=f"a{number // 10}#s/{number:06}", article_id=f"a{number // 10}", text=text)
        made.append(replace(chunk, sentences=(Sentence(chunk.embedded_text, (), 1),)))
    store, drawn = Store(folder / str(chunks)), _Drawn()
    started = time.perf_counter()
    build_index(store, made, {}, model=drawn.name, open_model=lambda: drawn)
    ingest_s = time.perf_counter() - started
    before = resident_mb()
    index = Index(store)
    queries = drawn.embed([""] * 120)
    for query in queries[:20]:
        index.nearest(query[None, :], records=24)
    times = []
    for query in queries[20:]:
        started = time.perf_counter()
        index.nearest(query[None, :], records=24)
        times.append(1000 * (time.perf_counter() - started))
    size = sum(path.stat().st_size for path in store.path.rglob("*") if path.is_file())
    return Growth(chunks, ingest_s, float(np.median(times)), size / 1e6, resident_mb() - before)


def exponent(points: list[tuple[int, float]]) -> float:
    """Return b of the curve value = a * n ** b that fits the points best, by least squares on logarithms."""
    n, value = np.log([point[0] for point in points]), np.log([max(point[1], 1e-9) for point in points])
    return float(np.polyfit(n, value, 1)[0])
