"""Builds and opens the searchable index: Chroma collections and their manifest.

A build never touches the live index. It fills new collections (in a new directory, or under new names on a Chroma server), takes over
the vectors of unchanged texts, checks what it wrote, and then switches a pointer in one atomic step. Readers keep what they have open
until they notice the new pointer. Why: Chroma's embedded client is not safe across processes.
"""

import contextlib
import datetime as dt
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import chromadb
import numpy as np
from chromadb.api import ClientAPI
from chromadb.api.models.Collection import Collection
from chromadb.config import Settings as ChromaSettings
from filelock import FileLock, Timeout

from ingest.chunk import FORMAT, Chunk, digest
from ingest.embed import Embedder, Vectors
from kb.article import Sentence
from kb.sources import Source

PASSAGES = "passages"
"""Vectors to search: each chunk's own, and one for each question that it answers."""
SENTENCES = "sentences"
"""One vector a sentence, to choose the sentences of an answer without embedding anything anew."""
KEPT_BUILDS = 2
Progress = Callable[[int, int], None]


class BadIndex(Exception):
    """Base of what can be wrong with an index; the message is one line for the user."""


class IndexMissing(BadIndex):
    """There is no usable index at this place."""


class IndexMismatch(BadIndex):
    """The index was built with another embedding model."""


class IndexBusy(BadIndex):
    """Another process is building an index here."""


@dataclass(frozen=True)
class Record:
    """One row of a collection: an id, the text whose vector it has, and its metadata."""

    id: str
    text: str
    metadata: dict[str, str | int]

    @property
    def hash(self) -> str:
        """A digest of the embedded text."""
        return digest(self.text)


@dataclass
class BuildReport:
    """What a build did; counts are of chunks, save `documents`."""

    build: str
    documents: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    embedded: int = 0
    seconds: float = 0.0
    documents_added: int = 0
    documents_changed: int = 0
    documents_removed: int = 0
    documents_unchanged: int = 0
    refused: int = 0


@dataclass(frozen=True)
class Manifest:
    """What an index was built from. `chunks` maps chunk ids to content hashes."""

    build: str
    created: str
    format: int
    model: str
    dimension: int
    fingerprint: str
    chunks: dict[str, str]
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)


class Store:
    """Where indexes live: a directory, or a Chroma server for the collections with a directory for the pointer."""

    def __init__(self, path: Path, *, url: str = "") -> None:
        """Name the place; nothing is opened or created yet."""
        self.path = path
        self.url = url

    @property
    def models(self) -> Path:
        """Where exported model files are kept."""
        return self.path / "models"

    def current(self) -> str:
        """Return the id of the live build, or '' if there is none."""
        try:
            return (self.path / "current").read_text(encoding="utf-8").strip()
        except (FileNotFoundError, NotADirectoryError):
            return ""

    def builds(self) -> list[str]:
        """Return the ids of complete builds, oldest first."""
        return sorted(path.parent.name for path in (self.path / "builds").glob("*/manifest.json"))

    def manifest(self, build: str) -> Manifest:
        """Read the manifest of a build.

        Raises:
            IndexMissing: there is none, or it cannot be read.
        """
        path = self.path / "builds" / build / "manifest.json"
        try:
            return Manifest(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise IndexMissing(f"{path}: not a readable index manifest; run 'backtalk ingest --rebuild'") from error

    def use(self, build: str) -> None:
        """Make a complete build the live one, in one atomic step."""
        target = self.path / "current"
        temporary = target.with_suffix(f".{os.getpid()}")
        temporary.write_text(build, encoding="utf-8")
        temporary.replace(target)

    def prune(self, keep: int = KEPT_BUILDS) -> list[str]:
        """Delete all but the newest `keep` builds and the live one, and what interrupted builds left; return their ids."""
        complete = self.builds()
        kept = {*complete[-keep:], self.current()}
        gone = sorted(path.name for path in (self.path / "builds").glob("*") if path.name not in kept)
        for build in gone:
            if self.url:
                client = self.client(build)
                for name in (PASSAGES, SENTENCES):
                    with contextlib.suppress(chromadb.errors.NotFoundError):
                        client.delete_collection(self.collection_name(build, name))
            shutil.rmtree(self.path / "builds" / build, ignore_errors=True)
        return gone

    def client(self, build: str) -> ClientAPI:
        """Open Chroma for a build: its own directory, or the server.

        Raises:
            IndexMissing: the server does not answer.
        """
        settings = ChromaSettings(anonymized_telemetry=False)
        if not self.url:
            return chromadb.PersistentClient(str(self.path / "builds" / build / "chroma"), settings=settings)
        parts = urlsplit(self.url)
        try:
            return chromadb.HttpClient(
                host=parts.hostname or "localhost", port=parts.port or 8000, ssl=parts.scheme == "https", settings=settings
            )
        except Exception as error:
            raise IndexMissing(f"{self.url}: the Chroma server does not answer") from error

    def collection_name(self, build: str, name: str) -> str:
        """Return the collection's name: on a server, builds share one name space."""
        return f"{build}-{name}" if self.url else name

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Let one process build at a time; readers need no lock.

        Raises:
            IndexBusy: another process is building.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.path / "build.lock", timeout=0):
                yield
        except Timeout as error:
            raise IndexBusy(f"{self.path}: another ingest is running here; wait for it to end") from error


class Index:
    """A live build, opened for reading."""

    def __init__(self, store: Store, *, model: str | None = None) -> None:
        """Open the live build of `store`.

        Raises:
            IndexMissing: there is no index, or it is damaged.
            IndexMismatch: it was built with another model than `model`.
        """
        build = store.current()
        if not build:
            raise IndexMissing(f"{store.path}: no index here; run 'backtalk ingest' first")
        self.manifest = store.manifest(build)
        if model and self.manifest.model != model:
            raise IndexMismatch(
                f"{store.path}: the index was built with {self.manifest.model!r}, the settings say {model!r}; "
                "run 'backtalk ingest --rebuild' or change BACKTALK_EMBEDDING_MODEL"
            )
        client = store.client(build)
        try:
            self._passages = client.get_collection(store.collection_name(build, PASSAGES), embedding_function=None)
            self._sentences = client.get_collection(store.collection_name(build, SENTENCES), embedding_function=None)
            stored = self._passages.get(where={"kind": "chunk"}, include=["metadatas"])
        except Exception as error:
            raise IndexMissing(f"{store.path}: the index is damaged; run 'backtalk ingest --rebuild'") from error
        self.chunks = {i: _chunk_of(json.loads(str(m["chunk"]))) for i, m in zip(stored["ids"], stored["metadatas"] or [], strict=True)}
        if self.chunks.keys() != self.manifest.chunks.keys():
            raise IndexMissing(f"{store.path}: the index is damaged; run 'backtalk ingest --rebuild'")
        self.sources = {key: Source.model_validate(value) for key, value in self.manifest.sources.items()}
        self.sections: dict[str, str] = {}
        for chunk in self.chunks.values():
            self.sections.setdefault(f"{chunk.article_id}#{chunk.anchor}", chunk.id)

    @property
    def build(self) -> str:
        """The id of the build."""
        return self.manifest.build

    def nearest(self, vector: Vectors, *, records: int) -> dict[str, float]:
        """Return the best cosine similarity of each chunk among the `records` rows nearest to `vector` (shape (1, d)).

        A chunk is as near as its text or any of its questions, whichever is nearer.
        """
        found = self._passages.query(query_embeddings=vector, n_results=records, include=["metadatas", "distances"])
        best: dict[str, float] = {}
        for metadata, distance in zip((found["metadatas"] or [[]])[0], (found["distances"] or [[]])[0], strict=True):
            chunk_id = str(metadata["chunk_id"])
            best[chunk_id] = max(best.get(chunk_id, -1.0), 1.0 - distance)
        return best

    def sentence_vectors(self, chunk_ids: list[str]) -> dict[tuple[str, int], Vectors]:
        """Return the unit vectors of the sentences of these chunks, by (chunk id, position in the chunk)."""
        if not chunk_ids:
            return {}
        ids = [f"{chunk_id}/{n}" for chunk_id in chunk_ids for n in range(len(self.chunks[chunk_id].sentences))]
        found = self._sentences.get(ids=ids, include=["embeddings"])
        vectors = found["embeddings"] if found["embeddings"] is not None else []
        out: dict[tuple[str, int], Vectors] = {}
        for row_id, vector in zip(found["ids"], vectors, strict=True):
            chunk_id, _, number = row_id.rpartition("/")
            out[chunk_id, int(number)] = np.asarray(vector, dtype=np.float32)
        return out


def build_index(
    store: Store,
    chunks: list[Chunk],
    sources: dict[str, Source],
    *,
    model: str,
    open_model: Callable[[], Embedder],
    rebuild: bool = False,
    progress: Progress | None = None,
) -> BuildReport:
    """Bring the store up to `chunks`, embedding only texts that it has no vector for, and switch to the new build.

    Nothing is written, and the model is not opened, when the live index already is what would be built.

    Raises:
        IndexBusy: another process is building here.
        IndexMissing: the Chroma server does not answer.
    """
    started = time.perf_counter()
    with store.lock():
        old = None
        if store.current() and not rebuild:
            with contextlib.suppress(IndexMissing):
                old = store.manifest(store.current())
        if old and (old.model, old.format) != (model, FORMAT):
            old = None
        hashes = {chunk.id: chunk.hash for chunk in chunks}
        described = {key: source.model_dump(mode="json") for key, source in sorted(sources.items())}
        fingerprint = digest(json.dumps([FORMAT, model, hashes, described], sort_keys=True))
        report = _compare(old.chunks if old else {}, hashes)
        if old and old.fingerprint == fingerprint:
            report.build = old.build
        else:
            report.build = f"{dt.datetime.now(dt.UTC):%Y%m%dt%H%M%S%f}-{fingerprint[:8]}"
            report.embedded = _write(store, report.build, chunks, old, open_model, progress)
            folder = store.path / "builds" / report.build
            dimension = _verify(store, report.build, chunks)
            now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
            manifest = Manifest(report.build, now, FORMAT, model, dimension, fingerprint, hashes, described)
            (folder / "manifest.json").write_text(json.dumps(manifest.__dict__, indent=1), encoding="utf-8")
            store.use(report.build)
            store.prune()
    report.seconds = round(time.perf_counter() - started, 3)
    return report


def _compare(old: dict[str, str], new: dict[str, str]) -> BuildReport:
    report = BuildReport("")
    report.added = len(new.keys() - old.keys())
    report.removed = len(old.keys() - new.keys())
    report.changed = sum(old[key] != new[key] for key in old.keys() & new.keys())
    report.unchanged = len(old.keys() & new.keys()) - report.changed
    documents_old, documents_new = _by_document(old), _by_document(new)
    report.documents = len(documents_new)
    report.documents_added = len(documents_new.keys() - documents_old.keys())
    report.documents_removed = len(documents_old.keys() - documents_new.keys())
    common = documents_old.keys() & documents_new.keys()
    report.documents_changed = sum(documents_old[key] != documents_new[key] for key in common)
    report.documents_unchanged = len(common) - report.documents_changed
    return report


def _by_document(hashes: dict[str, str]) -> dict[str, dict[str, str]]:
    documents: dict[str, dict[str, str]] = {}
    for chunk_id, value in hashes.items():
        documents.setdefault(chunk_id.partition("#")[0], {})[chunk_id] = value
    return documents


def passage_records(chunks: list[Chunk]) -> list[Record]:
    """Return the rows of the passages collection: a chunk's own, then one for each of its questions."""
    records = []
    for chunk in chunks:
        metadata: dict[str, str | int] = {"chunk_id": chunk.id, "topic": chunk.topic, "review_due": int(chunk.review_due.replace("-", ""))}
        stored = json.dumps(chunk.__dict__ | {"sentences": [sentence.__dict__ for sentence in chunk.sentences]})
        records.append(Record(chunk.id, chunk.embedded_text, metadata | {"kind": "chunk", "chunk": stored}))
        for number, question in enumerate((chunk.heading, *chunk.questions)):
            if question:
                records.append(Record(f"{chunk.id}?{number}", question, metadata | {"kind": "question"}))
    return records


def sentence_records(chunks: list[Chunk]) -> list[Record]:
    """Return the rows of the sentences collection."""
    return [
        Record(f"{chunk.id}/{number}", sentence.text, {"chunk_id": chunk.id})
        for chunk in chunks
        for number, sentence in enumerate(chunk.sentences)
    ]


def _write(
    store: Store,
    build: str,
    chunks: list[Chunk],
    old: Manifest | None,
    open_model: Callable[[], Embedder],
    progress: Progress | None,
) -> int:
    known = _known_vectors(store, old) if old else {}
    rows = {PASSAGES: passage_records(chunks), SENTENCES: sentence_records(chunks)}
    new = list({r.hash: r.text for records in rows.values() for r in records if r.hash not in known}.items())
    if new:
        model = open_model()
        step = 256
        for start in range(0, len(new), step):
            part = new[start : start + step]
            known.update(zip([key for key, _ in part], model.embed([text for _, text in part]), strict=True))
            if progress:
                progress(min(start + step, len(new)), len(new))
    (store.path / "builds" / build).mkdir(parents=True)
    client = store.client(build)
    for name, records in rows.items():
        collection = client.create_collection(
            store.collection_name(build, name), configuration={"hnsw": {"space": "cosine"}}, embedding_function=None
        )
        for start in range(0, len(records), 2000):
            part_rows = records[start : start + 2000]
            collection.add(
                ids=[r.id for r in part_rows],
                embeddings=np.stack([known[r.hash] for r in part_rows]),
                documents=[r.text for r in part_rows],
                metadatas=[r.metadata | {"hash": r.hash} for r in part_rows],
            )
    return len(new)


def _known_vectors(store: Store, old: Manifest) -> dict[str, Any]:
    client = store.client(old.build)
    known: dict[str, Any] = {}
    for name in (PASSAGES, SENTENCES):
        try:
            collection: Collection = client.get_collection(store.collection_name(old.build, name), embedding_function=None)
            found = collection.get(include=["embeddings", "metadatas"])
        except Exception:  # noqa: BLE001  a damaged old index only means that its texts are embedded anew
            continue
        for metadata, vector in zip(found["metadatas"] or [], cast(Any, found["embeddings"]), strict=True):
            known[str(metadata["hash"])] = vector
    return known


def _verify(store: Store, build: str, chunks: list[Chunk]) -> int:
    """Check that what was written can be read back and found; return the dimension."""
    client = store.client(build)
    for name, records in ((PASSAGES, passage_records(chunks)), (SENTENCES, sentence_records(chunks))):
        collection = client.get_collection(store.collection_name(build, name), embedding_function=None)
        if collection.count() != len(records):
            raise IndexMissing(f"{store.path}: the new index is incomplete ({name}); the old one stays in use")
    collection = client.get_collection(store.collection_name(build, PASSAGES), embedding_function=None)
    if not chunks:
        return 0
    row = collection.get(ids=[chunks[0].id], include=["embeddings"])
    vector = np.asarray(cast(Any, row["embeddings"])[0], dtype=np.float32)
    found = collection.query(query_embeddings=vector[None, :], n_results=1, include=["distances"])
    if not found["ids"][0] or cast(Any, found["distances"])[0][0] > 1e-3:
        raise IndexMissing(f"{store.path}: the new index does not find its own text; the old one stays in use")
    return len(vector)


def _chunk_of(data: dict[str, Any]) -> Chunk:
    sentences = tuple(Sentence(**{**s, "sources": tuple(s["sources"])}) for s in data["sentences"])
    return Chunk(**{**data, "sentences": sentences, "audience": tuple(data["audience"]), "questions": tuple(data["questions"])})
