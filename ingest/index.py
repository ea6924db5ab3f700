"""Opens the searchable index: where builds live, what one was made of, and how it is read. `ingest.build` makes them.

A build never touches the live index: it fills new collections, in a new directory or under new names on a Chroma server, and then a
pointer moves. Readers keep what they have open until they notice the new pointer. Why: Chroma's embedded client is not safe across processes.
"""

import contextlib
import datetime as dt
import json
import shutil
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from filelock import FileLock, Timeout

from ingest.catalogue import Catalogue, FolderCatalogue, ServerCatalogue
from ingest.chunk import FORMAT, Chunk
from ingest.embed import Vectors
from ingest.server import PAGE, connect
from kb.article import Sentence
from kb.sources import Source

if TYPE_CHECKING:
    # Importing it takes half a second, which an ingest with nothing to do need not pay.
    from chromadb.api.client import Client
    from chromadb.api.models.Collection import Collection

PASSAGES = "passages"
"""Vectors to search: each chunk's own, and one for each question that it answers."""
SENTENCES = "sentences"
"""One vector a sentence, to choose the sentences of an answer without embedding anything anew."""
ROWS = 5_000
"""Rows read or written at a time in an embedded index: in one statement SQLite takes no more than 32,766."""
KEPT_BUILDS = 2
ABANDONED = dt.timedelta(days=1)
"""Age at which an incomplete build on a server counts as left behind; a younger one may be another machine's, at work."""


class BadIndex(Exception):
    """Base of what can be wrong with an index; the message is one line for the user."""


class IndexMissing(BadIndex):
    """There is no usable index at this place."""


class IndexUnreachable(IndexMissing):
    """The Chroma server does not answer."""


class IndexMismatch(BadIndex):
    """The index was built with another embedding model."""


class IndexBusy(BadIndex):
    """Another process is building an index here."""


class IndexUnwritable(BadIndex):
    """A new build could not be written; the old one stays in use."""


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
    """Where indexes live: a directory, or a Chroma server. The directory also holds the lock and what this machine remembers."""

    def __init__(self, path: Path, *, url: str = "") -> None:
        """Name the place; nothing is opened or created yet.

        Args:
            path: the directory.
            url: of a Chroma server; a path names tenant and database, as in https://api.trychroma.com/TENANT/DATABASE. The key of
                Chroma Cloud is read from CHROMA_API_KEY, Chroma's own variable.
        """
        self.path = path
        self.url = url
        self._shared: Client | None = None
        self.catalogue: Catalogue = ServerCatalogue(self._connect) if url else FolderCatalogue(path)

    @property
    def place(self) -> str:
        """What to call it in a message."""
        return self.url or str(self.path)

    @property
    def page(self) -> int:
        """How many rows to read or write in one request."""
        return PAGE if self.url else ROWS

    @property
    def models(self) -> Path:
        """Where exported model files are kept."""
        return self.path / "models"

    def current(self) -> str:
        """Return the id of the live build, or '' if there is none.

        Raises:
            IndexUnreachable: the server does not answer.
        """
        with self._answering():
            return self.catalogue.current()

    def builds(self) -> list[str]:
        """Return the ids of complete builds, oldest first."""
        with self._answering():
            return self.catalogue.builds()

    def manifest(self, build: str) -> Manifest:
        """Read the manifest of a build.

        Raises:
            IndexMissing: there is none, it cannot be read, or another version of the product wrote it.
        """
        try:
            with self._answering():
                text = self.catalogue.read(build)
            manifest = Manifest(**json.loads(text))
        except (OSError, ValueError, TypeError) as error:
            raise IndexMissing(f"{self.place}: build {build!r}: not a readable index manifest; run 'backtalk ingest --rebuild'") from error
        if manifest.format != FORMAT:
            raise IndexMissing(f"{self.place}: build {build!r} was made by another version of backtalk; run 'backtalk ingest'")
        return manifest

    def holds(self, build: str) -> bool:
        """Return whether the files of a build are there; on a server, which looks after its own, always true."""
        return bool(self.url) or (self.path / "builds" / build / "chroma" / "chroma.sqlite3").is_file()

    def use(self, build: str) -> None:
        """Make a complete build the live one, in one atomic step.

        Raises:
            IndexMissing: there is no such build, or it is damaged.
        """
        Index(self, build=build)
        with self._answering():
            self.catalogue.use(build)

    def prune(self, keep: int = KEPT_BUILDS) -> list[str]:
        """Delete all but the newest `keep` builds and the live one, and what interrupted builds left; return their ids."""
        with self._answering():
            complete = self.catalogue.builds()
            kept = {*(complete[-keep:] if keep else ()), self.catalogue.current()}
            young = f"{dt.datetime.now(dt.UTC) - ABANDONED:%Y%m%dt%H%M%S}" if self.url else "~"
            gone = sorted(build for build in self._stored() | set(complete) if build not in kept and (build in complete or build < young))
        for build in gone:
            self.discard(build)
        return gone

    def discard(self, build: str) -> None:
        """Delete a build, complete or not."""
        with self._answering():
            self.catalogue.forget(build)
            if not self.url:
                shutil.rmtree(self.path / "builds" / build, ignore_errors=True)
                return
            client = self._connect()
            stored = {collection.name for collection in client.list_collections()}
            for name in {self.collection_name(build, kind) for kind in (PASSAGES, SENTENCES)} & stored:
                client.delete_collection(name)

    def _stored(self) -> set[str]:
        """Return the ids of all builds of which anything is there."""
        if not self.url:
            return {path.name for path in (self.path / "builds").glob("*")}
        names = [collection.name for collection in self._connect().list_collections()]
        return {name.removesuffix(f"-{kind}") for name in names for kind in (PASSAGES, SENTENCES) if name.endswith(f"-{kind}")}

    def client(self, build: str, *, building: bool = False) -> "Client":
        """Open Chroma for a build: its own directory, or the server, with more patience when `building`. The caller closes it.

        Raises:
            IndexUnreachable: the server does not answer.
        """
        if self.url:
            with self._answering():
                return connect(self.url, building=building)
        import chromadb
        from chromadb.config import Settings

        settings = Settings(anonymized_telemetry=False)
        return cast("Client", chromadb.PersistentClient(str(self.path / "builds" / build / "chroma"), settings=settings))

    def _connect(self) -> "Client":
        """Return the one connection that the catalogue uses."""
        self._shared = self._shared or connect(self.url)
        return self._shared

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        """Turn whatever a server that is gone makes Chroma's client raise into one line."""
        try:
            yield
        except (BadIndex, FileNotFoundError):
            raise
        except Exception as error:
            if not self.url:
                raise
            raise IndexUnreachable(f"{self.url}: the Chroma server does not answer") from error

    def collection_name(self, build: str, name: str) -> str:
        """Return the collection's name: on a server, builds share one name space."""
        return f"{build}-{name}" if self.url else name

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Let one process of this machine build at a time; readers need no lock.

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
    """A build, opened for reading. It is closed when nothing uses it any more, so that a turn under way never loses it."""

    def __init__(self, store: Store, *, model: str | None = None, build: str = "") -> None:
        """Open a build of `store`, the live one if none is named.

        Raises:
            IndexMissing: there is no index, or it is damaged.
            IndexMismatch: it was built with another model than `model`.
        """
        build = build or store.current()
        if not build:
            raise IndexMissing(f"{store.place}: no index here; run 'backtalk ingest' first")
        self.manifest = store.manifest(build)
        if model and self.manifest.model != model:
            raise IndexMismatch(
                f"{store.place}: the index was built with {self.manifest.model!r}, the settings say {model!r}; "
                "run 'backtalk ingest --rebuild' or change BACKTALK_EMBEDDING_MODEL"
            )
        damaged = f"{store.place}: the index is damaged; run 'backtalk ingest --rebuild'"
        if not store.holds(build):
            raise IndexMissing(damaged)
        try:
            client = store.client(build)
            weakref.finalize(self, client.close)
            self._passages = client.get_collection(store.collection_name(build, PASSAGES), embedding_function=None)
            self._sentences = client.get_collection(store.collection_name(build, SENTENCES), embedding_function=None)
            stored: dict[str, Any] = {}
            for start in range(0, len(self.manifest.chunks), store.page):
                page = self._passages.get(where={"kind": "chunk"}, limit=store.page, offset=start, include=["metadatas"])
                stored |= zip(page["ids"], page["metadatas"] or [], strict=True)
            chunks = {chunk_id: _chunk_of(json.loads(str(metadata["chunk"]))) for chunk_id, metadata in stored.items()}
        except IndexUnreachable:
            raise
        except Exception as error:
            raise IndexMissing(damaged) from error
        if chunks.keys() != self.manifest.chunks.keys():
            raise IndexMissing(damaged)
        # In the manifest's order, which is the articles': a page of rows comes in Chroma's.
        self.chunks = {chunk_id: chunks[chunk_id] for chunk_id in self.manifest.chunks}
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
        return _nearest(self._passages, vector, records)

    def nearest_sentences(self, vector: Vectors, *, records: int) -> dict[str, float]:
        """Return the same by sentences: a chunk is as near as the nearest of its sentences, read with its heading."""
        return _nearest(self._sentences, vector, records)

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


def _nearest(collection: "Collection", vector: Vectors, records: int) -> dict[str, float]:
    found = collection.query(query_embeddings=vector, n_results=records, include=["metadatas", "distances"])
    best: dict[str, float] = {}
    for metadata, distance in zip((found["metadatas"] or [[]])[0], (found["distances"] or [[]])[0], strict=True):
        chunk_id = str(metadata["chunk_id"])
        best[chunk_id] = max(best.get(chunk_id, -1.0), 1.0 - distance)
    return best


def _chunk_of(data: dict[str, Any]) -> Chunk:
    sentences = tuple(Sentence(**{**s, "sources": tuple(s["sources"])}) for s in data["sentences"])
    return Chunk(**{**data, "sentences": sentences, "audience": tuple(data["audience"]), "questions": tuple(data["questions"])})
