"""`backtalk check`, `backtalk ingest` and `backtalk index`: call, print."""

import contextlib
import datetime as dt
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

from ingest.build import STEP, BuildReport, build_index, compare
from ingest.build import Progress as ProgressCallback
from ingest.chunk import Chunk, chunk_articles
from ingest.embed import Embedder, open_embedder
from ingest.fingerprint import Outcome, fingerprint, recall, remember
from ingest.index import KEPT_BUILDS, IndexMissing, Store
from kb.article import Problem
from kb.sources import Source

if TYPE_CHECKING:
    from ingest.vet import Vetted

Engine = Literal["local", "ray"]


class BadInput(Exception):
    """Something given to a command cannot be used; the message is one line that names what and where."""


def vet_folder(kb: Path) -> "Vetted":
    """Vet a folder.

    Raises:
        BadInput: it is no knowledge base, or its vetting policy is not valid.
    """
    # Not needed when nothing changed: importing it takes a third of the second that such an ingest may take.
    from ingest.vet import vet

    try:
        return vet(kb)
    except (FileNotFoundError, ValueError) as error:
        raise BadInput(str(error)) from error


def check(kb: Path, *, as_json: bool) -> int:
    """Vet `kb`, print every problem, and return 1 if there is any error."""
    vetted = vet_folder(kb)
    errors = [p for p in vetted.problems if p.severity == "error"]
    sections = sum(len(article.sections) for article in vetted.accepted)
    summary = {
        "articles": len(vetted.accepted),
        "sections": sections,
        "refused": vetted.refused,
        "errors": len(errors),
        "warnings": len(vetted.problems) - len(errors),
    }
    if as_json:
        write(json.dumps({**summary, "problems": [asdict(p) for p in vetted.problems]}, indent=1))
    else:
        for problem in vetted.problems:
            write(str(problem))
        write(
            f"{summary['articles']} articles with {sections} sections pass, {vetted.refused} refused; "
            f"{len(errors)} errors, {summary['warnings']} warnings"
        )
    return 1 if errors else 0


def chunks_of(vetted: "Vetted", *, reviewed_only: bool) -> tuple[list[Chunk], dict[str, Source]]:
    """Return the chunks of the accepted articles and the sources that they cite."""
    articles = [a for a in vetted.accepted if not reviewed_only or a.meta.status == "clinician-reviewed"]
    chunks = chunk_articles(articles)
    cited = {key for chunk in chunks for sentence in chunk.sentences for key in sentence.sources}
    return chunks, {key: vetted.sources[key] for key in cited}


def ingest(
    kb: Path, store: Store, *, model: str, rebuild: bool, reviewed_only: bool, quiet: bool = False, engine: Engine = "local"
) -> tuple[BuildReport, list[Problem]]:
    """Vet `kb` and bring the index up to it; a refused article never reaches the index.

    When nothing has changed since the last ingest, nothing is vetted, embedded or written anew: its findings are returned again.

    Raises:
        BadInput: `kb` is no knowledge base, or nothing in it passes.
        BadIndex: see `ingest.build.build_index`.
        ValueError: the embedding model is not on this machine.
    """
    started = time.perf_counter()
    # Taken before anything is read: what is edited meanwhile is then noticed the next time.
    try:
        mark = fingerprint(kb, model=model, reviewed_only=reviewed_only, today=dt.datetime.now(dt.UTC).date())
    except OSError as error:
        raise BadInput(f"{error.filename}: cannot be read: {error.strerror}") from error
    known = None if rebuild else recall(store.path, mark)
    if known and (report := _unchanged(store, known)):
        report.seconds = round(time.perf_counter() - started, 3)
        return report, known.problems
    vetted = vet_folder(kb)
    chunks, sources = chunks_of(vetted, reviewed_only=reviewed_only)
    if not chunks:
        first = next((str(p) for p in vetted.problems if p.severity == "error"), "no article in it")
        raise BadInput(f"{kb}: nothing to index: {first}")
    with _progress_bar(quiet) as progress:
        report = build_index(
            store,
            chunks,
            sources,
            model=model,
            open_model=lambda: _open_engine(engine, model, store),
            rebuild=rebuild,
            progress=progress,
            # A cluster is handed everything at once and shares it out itself.
            step=STEP if engine == "local" else sys.maxsize,
        )
    report.refused = vetted.refused
    remember(store.path, Outcome(mark, report.build, vetted.refused, vetted.problems))
    report.seconds = round(time.perf_counter() - started, 3)
    return report, vetted.problems


def _unchanged(store: Store, known: Outcome) -> BuildReport | None:
    """Return the report of an ingest with nothing to do, or None if the live index is not the one that `known` made."""
    with store.lock():
        if store.current() != known.build or not store.holds(known.build):
            return None
        try:
            chunks = store.manifest(known.build).chunks
        except IndexMissing:
            return None
    report = compare(chunks, chunks)
    report.build, report.refused = known.build, known.refused
    return report


def _open_engine(engine: Engine, model: str, store: Store) -> Embedder:
    if engine == "local":
        return open_embedder(model, models=store.models)
    try:
        from ingest.cluster import RayEmbedder
    except ImportError as error:
        raise BadInput(f"--engine ray: it is not installed: pip install 'backtalk[ray]' ({error.name})") from error
    return RayEmbedder(model, models=store.models)


def print_report(report: BuildReport, problems: list[Problem], *, as_json: bool) -> int:
    """Print what an ingest did, and return 1 if it refused an article."""
    refused = [p for p in problems if p.severity == "error"]
    if as_json:
        write(json.dumps({**asdict(report), "problems": [asdict(p) for p in refused]}, indent=1))
    else:
        for problem in refused:
            print(problem, file=sys.stderr)  # noqa: T201
        write(
            f"documents: {report.documents_added} added, {report.documents_changed} changed, {report.documents_removed} removed, "
            f"{report.documents_unchanged} unchanged, {report.refused} refused"
        )
        write(f"chunks:    {report.added} added, {report.changed} changed, {report.removed} removed, {report.unchanged} unchanged")
        write(f"{report.embedded} texts embedded, {report.seconds:.2f} s, build {report.build}")
    return 1 if refused else 0


def list_builds(store: Store, *, as_json: bool) -> None:
    """Print the builds of an index, oldest first, and which one is live.

    Raises:
        BadIndex: the Chroma server does not answer.
    """
    live = store.current()
    rows = []
    for build in store.builds():
        try:
            manifest = store.manifest(build)
            documents = len({chunk_id.partition("#")[0] for chunk_id in manifest.chunks})
            row = {"created": manifest.created, "documents": documents, "chunks": len(manifest.chunks), "model": manifest.model}
        except IndexMissing as error:
            row = {"problem": str(error)}
        rows.append({"build": build, "live": build == live, **row})
    if as_json:
        write(json.dumps(rows, indent=1))
        return
    for row in rows:
        about = row.get("problem") or f"{row['created']}  {row['documents']} documents, {row['chunks']} chunks, {row['model']}"
        write(f"{'*' if row['live'] else ' '} {row['build']}  {about}")
    if not rows:
        write(f"{store.place}: no index here; run 'backtalk ingest' first")


def use_build(store: Store, build: str) -> None:
    """Make a build the live one; bots that are running move to it by themselves.

    Raises:
        BadInput: there is no such build.
        BadIndex: it is damaged, or the Chroma server does not answer.
    """
    if build not in store.builds():
        raise BadInput(f"{store.place}: no build {build!r}; 'backtalk index list' shows what there is")
    with store.lock():
        store.use(build)
    write(f"{build} is live")


def prune_builds(store: Store, *, keep: int = KEPT_BUILDS) -> None:
    """Delete all but the newest builds and the live one.

    Raises:
        BadIndex: an ingest is running, or the Chroma server does not answer.
    """
    with store.lock():
        gone = store.prune(keep)
    for build in gone:
        write(f"{build} deleted")
    write(f"{len(store.builds())} kept")


@contextlib.contextmanager
def _progress_bar(quiet: bool) -> Iterator[ProgressCallback | None]:
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    columns = (*Progress.get_default_columns()[:2], TextColumn("{task.completed}/{task.total}"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("embedding", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def write(line: str) -> None:
    """Print one line to standard output."""
    print(line)  # noqa: T201


def fail(message: str) -> NoReturn:
    """Print one line to standard error and leave with status 2: bad usage or input."""
    print(f"backtalk: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
    raise SystemExit(2)
