"""Builds an index: chunks to rows, texts to vectors, a new build checked and switched to. Unchanged texts keep their vectors."""

import contextlib
import datetime as dt
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from ingest.chunk import FORMAT, Chunk, digest
from ingest.embed import Embedder
from ingest.index import PASSAGES, SENTENCES, BadIndex, IndexMissing, IndexUnreachable, IndexUnwritable, Manifest, Store
from kb.sources import Source

Progress = Callable[[int, int], None]
STEP = 256
"""Texts handed to the embedding model at a time."""


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


def build_index(
    store: Store,
    chunks: list[Chunk],
    sources: dict[str, Source],
    *,
    model: str,
    open_model: Callable[[], Embedder],
    rebuild: bool = False,
    progress: Progress | None = None,
    step: int = STEP,
) -> BuildReport:
    """Bring the store up to `chunks`, embedding only texts that it has no vector for, and switch to the new build.

    Nothing is written, and the model is not opened, when the live index already is what would be built.

    Args:
        store: where the index lives.
        chunks: all that the index shall hold.
        sources: what the chunks cite.
        model: name of the embedding model.
        open_model: opens it, when a text has no vector yet.
        rebuild: embed everything anew.
        progress: told how many texts are embedded, and of how many.
        step: texts handed to the model at a time.

    Raises:
        IndexBusy: another process is building here.
        IndexUnreachable: the Chroma server does not answer.
        IndexUnwritable: the disk is full or not to be written to; the old index stays in use.
    """
    started = time.perf_counter()
    with store.lock():
        old = None
        current = store.current()
        if current and not rebuild:
            try:
                old = store.manifest(current)
            except IndexUnreachable:
                raise
            except IndexMissing:
                old = None  # damaged: everything is embedded anew
        if old and (old.model != model or not store.holds(current)):
            old = None
        hashes = {chunk.id: chunk.hash for chunk in chunks}
        described = {key: source.model_dump(mode="json") for key, source in sorted(sources.items())}
        fingerprint = digest(json.dumps([FORMAT, model, hashes, described], sort_keys=True))
        report = compare(old.chunks if old else {}, hashes)
        if old and old.fingerprint == fingerprint:
            report.build = old.build
        else:
            report.build = f"{dt.datetime.now(dt.UTC):%Y%m%dt%H%M%S%f}-{fingerprint[:8]}"
            rows = {PASSAGES: passage_records(chunks), SENTENCES: sentence_records(chunks)}
            vectors, report.embedded = _embed(store, rows, old, open_model, progress, step)
            with _all_or_nothing(store, report.build):
                _write(store, report.build, rows, vectors)
                dimension = _verify(store, report.build, rows)
                now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
                manifest = Manifest(report.build, now, FORMAT, model, dimension, fingerprint, hashes, described)
                store.catalogue.save(report.build, json.dumps(manifest.__dict__, indent=1))
                store.catalogue.use(report.build)
            store.prune()
    report.seconds = round(time.perf_counter() - started, 3)
    return report


@contextlib.contextmanager
def _all_or_nothing(store: Store, build: str) -> Iterator[None]:
    """Remove what was written of a build when the block fails, and say in one line that the old one stays."""
    try:
        yield
    except Exception as error:
        # Chroma's own errors, sqlite's text, OSError: whatever it was, nothing half-built may stay. If not even that works,
        # the next prune removes it.
        with contextlib.suppress(Exception):
            store.discard(build)
        if isinstance(error, BadIndex):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise IndexUnwritable(f"{store.place}: the new index cannot be written ({reason}); the old one stays in use") from error


def compare(old: dict[str, str], new: dict[str, str]) -> BuildReport:
    """Return what differs between two builds' chunk hashes, by chunk and by document."""
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
        Record(f"{chunk.id}/{number}", chunk.sentence_text(number), {"chunk_id": chunk.id})
        for chunk in chunks
        for number in range(len(chunk.sentences))
    ]


def _embed(
    store: Store,
    rows: dict[str, list[Record]],
    old: Manifest | None,
    open_model: Callable[[], Embedder],
    progress: Progress | None,
    step: int,
) -> tuple[dict[str, Any], int]:
    """Return a vector for each text, by its hash, and how many of them had to be embedded."""
    known = _known_vectors(store, old) if old else {}
    new = list({r.hash: r.text for records in rows.values() for r in records if r.hash not in known}.items())
    if new:
        model = open_model()
        for start in range(0, len(new), step):
            part = new[start : start + step]
            known.update(zip([key for key, _ in part], model.embed([text for _, text in part]), strict=True))
            if progress:
                progress(min(start + step, len(new)), len(new))
    return known, len(new)


def _known_vectors(store: Store, old: Manifest) -> dict[str, Any]:
    known: dict[str, Any] = {}
    try:
        with store.client(old.build, building=True) as client:
            for name in (PASSAGES, SENTENCES):
                collection = client.get_collection(store.collection_name(old.build, name), embedding_function=None)
                total = collection.count()
                for start in range(0, total, store.page):
                    found = collection.get(include=["embeddings", "metadatas"], limit=store.page, offset=start)
                    for metadata, vector in zip(found["metadatas"] or [], cast(Any, found["embeddings"]), strict=True):
                        known[str(metadata["hash"])] = vector
    except Exception:  # noqa: BLE001  a damaged old index only means that its texts are embedded anew
        return known
    return known


def _write(store: Store, build: str, rows: dict[str, list[Record]], vectors: dict[str, Any]) -> None:
    if not store.url:
        (store.path / "builds" / build).mkdir(parents=True)
    with store.client(build, building=True) as client:
        for name, records in rows.items():
            collection = client.create_collection(
                store.collection_name(build, name), configuration={"hnsw": {"space": "cosine"}}, embedding_function=None
            )
            for start in range(0, len(records), store.page):
                part = records[start : start + store.page]
                collection.add(
                    ids=[r.id for r in part],
                    embeddings=np.stack([vectors[r.hash] for r in part]),
                    documents=[r.text for r in part],
                    metadatas=[r.metadata | {"hash": r.hash} for r in part],
                )


def _verify(store: Store, build: str, rows: dict[str, list[Record]]) -> int:
    """Check that what was written can be read back and found; return the dimension."""
    with store.client(build, building=True) as client:
        for name, records in rows.items():
            collection = client.get_collection(store.collection_name(build, name), embedding_function=None)
            if collection.count() != len(records):
                raise IndexMissing(f"{store.place}: the new index is incomplete ({name}); the old one stays in use")
        if not rows[PASSAGES]:
            return 0
        collection = client.get_collection(store.collection_name(build, PASSAGES), embedding_function=None)
        row = collection.get(ids=[rows[PASSAGES][0].id], include=["embeddings"])
        vector = np.asarray(cast(Any, row["embeddings"])[0], dtype=np.float32)
        found = collection.query(query_embeddings=vector[None, :], n_results=1, include=["distances"])
        if not found["ids"][0] or cast(Any, found["distances"])[0][0] > 1e-3:
            raise IndexMissing(f"{store.place}: the new index does not find its own text; the old one stays in use")
        return len(vector)
