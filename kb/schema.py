"""Writes the JSON Schemas of the content files, so that an editor completes and validates them: `python -m kb.schema`."""

import json
from pathlib import Path

from kb.article import KB_DIR, FrontMatter
from kb.sources import Source


def schemas() -> dict[str, str]:
    """Return file name to JSON Schema, as text."""
    bibliography = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "sources.yaml",
        "type": "object",
        "required": ["sources"],
        "properties": {"sources": {"type": "array", "items": Source.model_json_schema()}},
    }
    return {
        "article.schema.json": json.dumps(FrontMatter.model_json_schema(), indent=1) + "\n",
        "sources.schema.json": json.dumps(bibliography, indent=1) + "\n",
    }


def write(folder: Path = KB_DIR / "schema") -> None:
    """Write the schemas into `folder`."""
    folder.mkdir(exist_ok=True)
    for name, text in schemas().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
