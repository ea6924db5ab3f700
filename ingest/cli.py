"""`backtalk check` and `backtalk ingest`: parse, call, print."""

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.progress import Progress, TextColumn, TimeRemainingColumn

from ingest.chunk import Chunk, chunk_articles
from ingest.embed import open_embedder
from ingest.index import BuildReport, Store, build_index
from ingest.index import Progress as ProgressCallback
from ingest.vet import Vetted, vet
from kb.sources import Source


class BadInput(Exception):
    """Something given to a command cannot be used; the message is one line that names what and where."""


def vet_folder(kb: Path) -> Vetted:
    """Vet a folder.

    Raises:
        BadInput: it is no knowledge base, or its vetting policy is not valid.
    """
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


def chunks_of(vetted: Vetted, *, reviewed_only: bool) -> tuple[list[Chunk], dict[str, Source]]:
    """Return the chunks of the accepted articles and the sources that they cite."""
    articles = [a for a in vetted.accepted if not reviewed_only or a.meta.status == "clinician-reviewed"]
    chunks = chunk_articles(articles)
    cited = {key for chunk in chunks for sentence in chunk.sentences for key in sentence.sources}
    return chunks, {key: vetted.sources[key] for key in cited}


def ingest(kb: Path, store: Store, *, model: str, rebuild: bool, reviewed_only: bool, quiet: bool = False) -> tuple[BuildReport, Vetted]:
    """Vet `kb` and bring the index up to it; a refused article never reaches the index.

    Raises:
        BadInput: `kb` is no knowledge base, or nothing in it passes.
        BadIndex: see `ingest.index.build_index`.
        ValueError: the embedding model is not on this machine.
    """
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
            open_model=lambda: open_embedder(model, models=store.models),
            rebuild=rebuild,
            progress=progress,
        )
    report.refused = vetted.refused
    return report, vetted


def print_report(report: BuildReport, vetted: Vetted, *, as_json: bool) -> int:
    """Print what an ingest did, and return 1 if it refused an article."""
    refused = [p for p in vetted.problems if p.severity == "error"]
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


@contextlib.contextmanager
def _progress_bar(quiet: bool) -> Iterator[ProgressCallback | None]:
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
