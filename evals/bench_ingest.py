"""Ingest against its floor and against the stock way, the edit of one section, and how all grows with the number of chunks."""

import multiprocessing
import os
import re
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from langchain_core.documents import Document

from bot.retrieve import Retriever
from bot.settings import Settings
from evals.bench_load import resident_mb_of
from evals.stock import SameEmbeddings
from ingest.build import BuildReport, build_index, passage_records, sentence_records
from ingest.chunk import Chunk
from ingest.cli import chunks_of, ingest, vet_folder
from ingest.embed import Vectors, open_embedder
from ingest.index import Index, Store
from kb.article import Sentence

NOISE = 0.02
"""Standard deviation of what is added to each of a vector's numbers: about as far from its origin as a paraphrase."""
QUERIES = 100


@dataclass(frozen=True)
class Reading:
    """What opening an index and searching it costs a process; milliseconds are medians."""

    open_s: float
    nearest_ms: float
    search_ms: float
    resident_mb: float


@dataclass(frozen=True)
class Growth(Reading):
    """What an index of `chunks` chunks costs."""

    chunks: int
    ingest_s: float
    disk_mb: float


class NearReal:
    """Gives each text the vector of a real sentence with seeded noise."""

    name = "near-real"

    def __init__(self, real: Vectors) -> None:
        """Keep the real vectors, shape (n, d)."""
        self.real = real

    def embed(self, texts: list[str]) -> Vectors:
        """Return one unit vector a text, shape (len(texts), d), the same for the same texts."""
        dice = np.random.default_rng([8, len(texts[0]), *texts[0].encode()[:32]])
        rows = self.real[dice.integers(len(self.real), size=len(texts))]
        rows = rows + dice.normal(scale=NOISE, size=rows.shape).astype(np.float32)
        scaled: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return scaled


def throughput(settings: Settings, folder: Path, *, chunks: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each round for the same texts: `bare` embedding, `ours`, and LangChain's `stock`; and how many `texts`.

    Args:
        settings: of the bot.
        folder: an empty one to write in.
        chunks: how many are ingested.
        rounds: how often each is measured; they take turns.
    """
    from langchain_chroma import Chroma

    taken, sources = chunks_of(vet_folder(settings.kb), reviewed_only=False)
    taken = taken[:chunks]
    embedder = open_embedder(settings.embedding_model, models=Store(settings.index).models)
    texts = list(dict.fromkeys(record.text for record in [*passage_records(taken), *sentence_records(taken)]))
    embedder.embed(texts[:32])
    times: dict[str, list[float]] = {"texts": [float(len(texts))], "bare": [], "ours": [], "stock": []}
    for number in range(rounds):
        started = time.perf_counter()
        for at in range(0, len(texts), 256):
            embedder.embed(texts[at : at + 256])
        times["bare"].append(time.perf_counter() - started)
        started = time.perf_counter()
        build_index(Store(folder / f"ours-{number}"), taken, sources, model=settings.embedding_model, open_model=lambda: embedder)
        times["ours"].append(time.perf_counter() - started)
        documents = [Document(page_content=text) for text in texts]
        started = time.perf_counter()
        Chroma.from_documents(documents, SameEmbeddings(embedder), persist_directory=str(folder / f"stock-{number}"))
        times["stock"].append(time.perf_counter() - started)
    return times


def edit_one_section(settings: Settings, folder: Path) -> BuildReport:
    """Change one sentence in a copy of the knowledge base whose index is up to date, and return what the ingest of that did."""
    kb, store = folder / "kb", Store(folder / "edited")
    shutil.copytree(settings.kb, kb, ignore=shutil.ignore_patterns("__pycache__"))
    live = Store(settings.index).current()
    for part in ("models", f"builds/{live}"):
        shutil.copytree(settings.index / part, store.path / part)
    (store.path / "current").write_text(live, encoding="utf-8")
    options = {"model": settings.embedding_model, "rebuild": False, "reviewed_only": settings.reviewed_only, "quiet": True}
    ingest(kb, store, **options)  # type: ignore[arg-type]
    article = sorted((kb / "articles").glob("*.md"))[0]
    article.write_text(re.sub(r" \[@", " indeed [@", article.read_text(encoding="utf-8"), count=1), encoding="utf-8")
    return ingest(kb, store, **options)[0]  # type: ignore[arg-type]


def grow(settings: Settings, path: Path, chunks: int) -> Growth:
    """Index `chunks` chunks at `path`, and open and search that index in a process of its own."""
    live = Index(Store(settings.index))
    named = live.sentence_vectors(list(live.chunks))
    real = NearReal(np.stack(list(named.values())))
    told = [live.chunks[chunk_id].sentences[number].text for chunk_id, number in named]
    base = Chunk("", "", "Title", "", "", "basics", ("general",), "mixed", "2026-01-01", "2099-01-01", "source-checked", "", "", (), ())
    made = []
    for number in range(chunks):
        name = f"a{number // 10}"
        chunk = replace(base, id=f"{name}#s/{number:06}", article_id=name, text=f"{told[number % len(told)]} ({number})")
        made.append(replace(chunk, sentences=(Sentence(chunk.embedded_text, (), 1),)))
    started = time.perf_counter()
    build_index(Store(path), made, {}, model=real.name, open_model=lambda: real)
    ingest_s = time.perf_counter() - started
    disk_mb = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6
    # Not forked: a copy of this process would bring its memory along.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as apart:
        reading = apart.submit(read_index, path, real.real[:QUERIES], told[:QUERIES]).result()
    return Growth(**reading.__dict__, chunks=chunks, ingest_s=ingest_s, disk_mb=disk_mb)


def read_index(path: Path, vectors: Vectors, texts: list[str]) -> Reading:
    """Open the index at `path`, search it for each vector and text, and say what that cost this process."""
    import chromadb  # noqa: F401  imported by the first opening, and no part of what an index takes

    embedder = NearReal(vectors)
    before = resident_mb_of(os.getpid())
    started = time.perf_counter()
    retriever = Retriever(Index(Store(path)), embedder, glossary={})
    open_s = time.perf_counter() - started
    queries = embedder.real[: len(texts), None, :]
    for query in queries[:10]:
        retriever.index.nearest(query, records=24)
    nearest, search = [], []
    for query, text in zip(queries, texts, strict=True):
        started = time.perf_counter()
        retriever.index.nearest(query, records=24)
        nearest.append(1000 * (time.perf_counter() - started))
        started = time.perf_counter()
        retriever.search(text, top_k=10, vector=query)
        search.append(1000 * (time.perf_counter() - started))
    return Reading(open_s, float(np.median(nearest)), float(np.median(search)), resident_mb_of(os.getpid()) - before)


def exponent(points: list[tuple[int, float]]) -> float:
    """Return b of the curve value = a * n ** b that fits the points best, by least squares on logarithms."""
    n, value = np.log([point[0] for point in points]), np.log([max(point[1], 1e-9) for point in points])
    return float(np.polyfit(n, value, 1)[0])
