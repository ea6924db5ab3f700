"""Knows which builds of the index there are and which one is live: in a folder, or on a Chroma server where every replica reads the same.

A build counts as complete when its manifest can be read, and the manifest is written last and whole. It knows nothing of what is in one.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from chromadb.api.client import Client
    from chromadb.api.models.Collection import Collection

LIVE = "live"
"""Row of the server's catalogue that names the live build."""
SLICE = 8_000
"""Characters of a manifest in one row: Chroma Cloud takes documents of up to 16 KiB."""
FRESH_S = 1.0
"""Seconds for which the server's pointer is believed, so that it is not asked anew in every turn."""


class Catalogue(Protocol):
    """The list of builds, with a pointer to the live one that moves in one atomic step."""

    def current(self) -> str:
        """Return the id of the live build, or '' if there is none."""
        ...

    def builds(self) -> list[str]:
        """Return the ids of complete builds, oldest first."""
        ...

    def read(self, build: str) -> str:
        """Return the manifest of a build.

        Raises:
            OSError: there is none.
        """
        ...

    def save(self, build: str, manifest: str) -> None:
        """Keep the manifest of a build; from then on it is complete."""
        ...

    def use(self, build: str) -> None:
        """Make a build the live one."""
        ...

    def forget(self, build: str) -> None:
        """Drop the manifest of a build."""
        ...


class FolderCatalogue:
    """`PATH/current` holds the id of the live build, `PATH/builds/ID/manifest.json` its manifest."""

    def __init__(self, path: Path) -> None:
        """Name the folder; nothing is created yet."""
        self.path = path

    def current(self) -> str:
        """Return the id of the live build, or '' if there is none."""
        try:
            return (self.path / "current").read_text(encoding="utf-8").strip()
        except (FileNotFoundError, NotADirectoryError):
            return ""

    def builds(self) -> list[str]:
        """Return the ids of complete builds, oldest first."""
        return sorted(path.parent.name for path in (self.path / "builds").glob("*/manifest.json"))

    def read(self, build: str) -> str:
        """Return the manifest of a build."""
        return (self.path / "builds" / build / "manifest.json").read_text(encoding="utf-8")

    def save(self, build: str, manifest: str) -> None:
        """Keep the manifest of a build."""
        replace_file(self.path / "builds" / build / "manifest.json", manifest)

    def use(self, build: str) -> None:
        """Make a build the live one."""
        replace_file(self.path / "current", build)

    def forget(self, build: str) -> None:
        """Drop the manifest of a build."""
        (self.path / "builds" / build / "manifest.json").unlink(missing_ok=True)


class ServerCatalogue:
    """A small collection on the server: one row for the pointer, and each manifest in slices, the first of which is written last."""

    NAME = "backtalk-catalogue"

    def __init__(self, connect: "Callable[[], Client]") -> None:
        """Remember how to reach the server; it is not asked yet."""
        self._connect = connect
        self._seen = ("", float("-inf"))

    def current(self) -> str:
        """Return the id of the live build, or '' if there is none; at most a second old."""
        build, at = self._seen
        if not build or time.monotonic() - at > FRESH_S:
            build = "".join(self._rows().get(ids=[LIVE], include=["documents"])["documents"] or [])
            self._seen = (build, time.monotonic())
        return build

    def builds(self) -> list[str]:
        """Return the ids of complete builds, oldest first."""
        return sorted(row.rpartition("/")[0] for row in self._rows().get(where={"part": 0}, include=[])["ids"])

    def read(self, build: str) -> str:
        """Return the manifest of a build."""
        found = self._rows().get(where={"build": build}, include=["documents"])
        parts = dict(zip(found["ids"], found["documents"] or [], strict=True))
        if f"{build}/00000" not in parts:
            raise FileNotFoundError(build)
        return "".join(parts[row] for row in sorted(parts))

    def save(self, build: str, manifest: str) -> None:
        """Keep the manifest of a build."""
        rows = self._rows()
        slices = [manifest[at : at + SLICE] for at in range(0, len(manifest), SLICE)]
        for part in reversed(range(len(slices))):
            rows.upsert(ids=[f"{build}/{part:05}"], embeddings=[1.0], documents=[slices[part]], metadatas=[{"build": build, "part": part}])

    def use(self, build: str) -> None:
        """Make a build the live one."""
        self._rows().upsert(ids=[LIVE], embeddings=[1.0], documents=[build])
        self._seen = (build, time.monotonic())

    def forget(self, build: str) -> None:
        """Drop the manifest of a build."""
        self._rows().delete(where={"build": build})

    def _rows(self) -> "Collection":
        return self._connect().get_or_create_collection(self.NAME, embedding_function=None)


def replace_file(path: Path, text: str) -> None:
    """Write a file so that a reader, or a power cut, finds either the old content or the new one, never a part.

    Raises:
        OSError: it cannot be written; the old content stands.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
