"""Reads data sets in BEIR's layout and indexes their corpus with the product's own parts. Knows nothing of metrics."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bot.retrieve import Retriever, read_glossary
from bot.settings import Settings
from evals.case import Case, first_problem, read_lines
from ingest.build import Progress, build_index
from ingest.chunk import Chunk, digest, split_sentences
from ingest.cli import BadInput
from ingest.embed import open_embedder
from ingest.index import Index, Store
from kb.article import Sentence, join_sentences

BOUNDARY = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9(\"'“])")
Qrels = dict[str, dict[str, int]]
Line = TypeVar("Line", bound=BaseModel)


class Document(BaseModel):
    """A line of `corpus.jsonl`; further keys, such as metadata, are left alone."""

    model_config = ConfigDict(extra="ignore", frozen=True, coerce_numbers_to_str=True)

    id: str = Field(alias="_id", min_length=1)
    title: str = ""
    text: str


class Query(BaseModel):
    """A line of `queries.jsonl`."""

    model_config = ConfigDict(extra="ignore", frozen=True, coerce_numbers_to_str=True)

    id: str = Field(alias="_id", min_length=1)
    text: str = Field(min_length=1)


def read_beir(folder: Path) -> list[Case]:
    """Read the judged queries of a data set; a query without judgements is left out, as BEIR does.

    Raises:
        BadInput: a file is missing or a line is malformed.
    """
    queries = {query.id: query.text for query in _read(folder / "queries.jsonl", Query)}
    qrels = _read_qrels(folder / "qrels" / "test.tsv")
    unknown = next((name for name in qrels if name not in queries), None)
    if unknown is not None:
        raise BadInput(f"{folder / 'qrels' / 'test.tsv'}: query {unknown!r} is not in queries.jsonl")
    cases = []
    for name, grades in qrels.items():
        if any(grade > 0 for grade in grades.values()):
            given = {"messages": [{"role": "user", "content": queries[name]}]}
            cases.append(Case(name, given, {"grades": grades}, {}))
    if not cases:
        raise BadInput(f"{folder / 'qrels' / 'test.tsv'}: no query has a relevant document")
    return cases


def corpus_digest(folder: Path) -> str:
    """Return a digest of the corpus file.

    Raises:
        BadInput: it cannot be read.
    """
    path = folder / "corpus.jsonl"
    try:
        return digest(path.read_bytes().hex())
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from error


def open_corpus(folder: Path, settings: Settings, *, progress: Progress | None = None) -> Retriever:
    """Index a corpus, or open the index that an earlier run left, and return the product's retriever over it.

    Raises:
        BadInput: a line of the corpus is malformed, or the embedding model is not on this machine.
        BadIndex: another process is building the same index.
    """
    store = Store(settings.index / "evals" / corpus_digest(folder))
    models = Store(settings.index).models
    try:
        embedder = open_embedder(settings.embedding_model, models=models)
    except ValueError as error:
        raise BadInput(str(error)) from error
    chunks = [chunk for document in _documents(folder) for chunk in chunk_document(document)]
    try:
        build_index(store, chunks, {}, model=settings.embedding_model, open_model=lambda: embedder, progress=progress)
    except OSError as error:
        raise BadInput(f"{store.path}: cannot be written: {error.strerror}") from error
    return Retriever(Index(store, model=settings.embedding_model), embedder, glossary=read_glossary(settings.kb))


def chunk_document(document: Document) -> list[Chunk]:
    """Cut a document as the product cuts a section, between sentences where the model could not read it whole."""
    sentences = tuple(
        Sentence(text=" ".join(text.split()), sources=(), line=1) for text in BOUNDARY.split(document.text.strip()) if text.strip()
    ) or (Sentence(text=document.title or document.id, sources=(), line=1),)
    chunks = []
    for number, group in enumerate(split_sentences(sentences, f"{document.title}\n"), start=1):
        chunk = Chunk(
            id=f"{document.id}#text/{number:02}",
            article_id=document.id,
            title=document.title,
            heading="",
            anchor="text",
            topic="basics",
            audience=("general",),
            evidence="mixed",
            checked="2000-01-01",
            review_due="2099-01-01",
            status="",
            safety_net="",
            text=join_sentences(group),
            sentences=(),
            questions=(),
        )
        # Sentence vectors only serve to choose the sentences of an answer. One that repeats the passage's text shares its vector,
        # so that a large corpus is embedded once and not sentence by sentence as well.
        chunks.append(replace(chunk, sentences=(Sentence(text=chunk.embedded_text, sources=(), line=1),)))
    return chunks


def _documents(folder: Path) -> list[Document]:
    documents: dict[str, Document] = {}
    for document in _read(folder / "corpus.jsonl", Document):
        if document.id in documents:
            raise BadInput(f"{folder / 'corpus.jsonl'}: _id {document.id!r} stands twice")
        documents[document.id] = document
    return list(documents.values())


def _read(path: Path, model: type[Line]) -> Iterator[Line]:
    for number, line in read_lines(path):
        try:
            yield model.model_validate(json.loads(line))
        except ValidationError as error:
            raise BadInput(f"{path}:{number}: {first_problem(error)}") from error
        except ValueError as error:
            raise BadInput(f"{path}:{number}: not JSON: {error}") from error


def _read_qrels(path: Path) -> Qrels:
    qrels: Qrels = {}
    for number, line in read_lines(path):
        parts = line.rstrip("\r").split("\t")
        if len(parts) != 3:
            raise BadInput(f"{path}:{number}: not three columns with tabs between them: query-id, corpus-id, score")
        try:
            grade = int(parts[2])
        except ValueError:
            if number == 1:
                continue
            raise BadInput(f"{path}:{number}: score is not a whole number: {parts[2]!r}") from None
        qrels.setdefault(parts[0], {})[parts[1]] = grade
    return qrels
