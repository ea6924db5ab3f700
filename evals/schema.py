"""The formats of suites and data lines as JSON Schema, made from the models that read them, for editors and for other tools."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from evals.case import ConversationRow, GuardrailRow, QuestionRow
from evals.corpus import Document, Query
from evals.suite import Suite
from evals.validate import Pair

PUBLISHED = Path(__file__).parent / "schema"
MODELS: dict[str, type[BaseModel]] = {
    "suite": Suite,
    "guardrail": GuardrailRow,
    "conversations": ConversationRow,
    "questions": QuestionRow,
    "key-facts": Pair,
    "beir-corpus": Document,
    "beir-queries": Query,
}


def schemas() -> dict[str, dict[str, Any]]:
    """Return each format's JSON Schema (draft 2020-12) by name."""
    draft = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {name: draft | model.model_json_schema() for name, model in MODELS.items()}


def write_schemas(folder: Path = PUBLISHED) -> list[Path]:
    """Write one file a format and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, schema in schemas().items():
        paths.append(folder / f"{name}.schema.json")
        paths[-1].write_text(json.dumps(schema, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return paths
