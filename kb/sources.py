"""Reads the bibliography, `sources.yaml`: the only place where a source is described."""

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kb.article import SAFE_LOADER, Problem

Kind = Literal["guideline", "systematic_review", "rct", "cohort", "professional_body", "public_health_page", "publication"]


class Source(BaseModel):
    """One entry of the bibliography. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    title: str = Field(min_length=4)
    publisher: str = Field(min_length=2)
    kind: Kind
    year: int | Literal["n.d."]
    authors: str | None = None
    doi: str | None = Field(default=None, pattern=r"^10\.\d{4,9}/\S+$")
    url: str | None = Field(default=None, pattern=r"^https?://\S+$")
    region: str | None = None
    licence: str | None = None
    note: str | None = Field(default=None, description="What was seen of it, and its limits.")
    seen: bool = Field(description="Whether its text, abstract or record was read when the content was written.")

    @model_validator(mode="after")
    def _can_be_opened(self) -> "Source":
        if not self.url and not self.doi:
            raise ValueError("needs a url or a doi, so that a reader can open it")
        return self

    @property
    def link(self) -> str:
        """Where a reader can open it."""
        return self.url or f"https://doi.org/{self.doi}"


def read_sources(kb: Path) -> tuple[dict[str, Source], dict[str, int], list[Problem]]:
    """Read `kb/sources.yaml`.

    Returns:
        The sources by id, the line on which each stands, and what is wrong with the file.
    """
    path = kb / "sources.yaml"
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=SAFE_LOADER)
        data = yaml.load(text, Loader=SAFE_LOADER)
    except (OSError, UnicodeDecodeError) as error:
        return {}, {}, [Problem("sources.yaml", 1, f"cannot be read: {error}")]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        return {}, {}, [Problem("sources.yaml", (mark.line if mark else 0) + 1, f"not YAML: {str(error).splitlines()[0]}")]
    if not isinstance(root, yaml.MappingNode) or not isinstance(data.get("sources"), list):
        return {}, {}, [Problem("sources.yaml", 1, "needs a list under 'sources:'")]
    nodes = next(value for key, value in root.value if key.value == "sources").value
    sources: dict[str, Source] = {}
    lines: dict[str, int] = {}
    problems: list[Problem] = []
    for entry, node in zip(data["sources"], nodes, strict=True):
        line = node.start_mark.line + 1
        try:
            source = Source.model_validate(entry)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                field = ".".join(str(part) for part in detail["loc"])
                name = entry.get("id", "?") if isinstance(entry, dict) else "?"
                problems.append(Problem("sources.yaml", line, f"{name}: {field}: {detail['msg']}"))
            continue
        if source.id in sources:
            problems.append(Problem("sources.yaml", line, f"duplicate id {source.id!r}, first on line {lines[source.id]}"))
            continue
        sources[source.id] = source
        lines[source.id] = line
    return sources, lines, problems
