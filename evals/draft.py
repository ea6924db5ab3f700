"""Turns complaints into draft eval cases: a thumbs-down whose sender agreed that the conversation is kept.

A draft is a guardrail line without `expect`, so no suite takes it before a person has read it, taken names out, and labelled it.
"""

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.case import read_lines
from ingest.cli import BadInput

QUERY = "SELECT id, at, comment, messages FROM feedback WHERE rating = 'down' AND consent = 1 AND messages IS NOT NULL ORDER BY id"
COUNT = "SELECT COUNT(*) FROM feedback WHERE rating = 'down' AND messages IS NULL"


@dataclass(frozen=True)
class Drafted:
    """How many drafts were added, how many stood in the file already, and how many complaints hold no conversation."""

    added: int
    known: int
    without_consent: int


def draft_cases(feedback: Path, target: Path) -> Drafted:
    """Add a draft for each complaint with a conversation to the file `target`.

    Raises:
        BadInput: the database or the file cannot be used.
    """
    if not feedback.is_file():
        raise BadInput(f"{feedback}: no ratings here")
    try:
        with closing(sqlite3.connect(f"{feedback.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute(QUERY).fetchall()
            (silent,) = connection.execute(COUNT).fetchone()
    except sqlite3.Error as error:
        raise BadInput(f"{feedback}: cannot be read: {error}") from error
    known = _ids(target)
    drafts = [_draft(*row) for row in rows]
    new = [draft for draft in drafts if draft["id"] not in known]
    try:
        with target.open("a", encoding="utf-8") as out:
            out.writelines(json.dumps(draft, ensure_ascii=False) + "\n" for draft in new)
    except OSError as error:
        raise BadInput(f"{target}: cannot be written: {error.strerror}") from error
    return Drafted(len(new), len(drafts) - len(new), silent)


def _draft(number: int, at: str, comment: str | None, messages: str) -> dict[str, Any]:
    turns = json.loads(messages)
    # What the bot said last is what the complaint is about; the case ends with the message that led to it.
    last = max(i for i, turn in enumerate(turns) if turn["role"] == "user")
    draft = {
        "id": f"complaint-{number}",
        "messages": turns[: last + 1],
        "kind": "complaint",
        "received": at,
        "complaint": comment or "",
        "bot_said": [turn["content"] for turn in turns[last + 1 :]],
    }
    return draft


def _ids(target: Path) -> set[str]:
    if not target.is_file() or not target.read_text(encoding="utf-8").strip():
        return set()
    ids = set()
    for number, line in read_lines(target):
        try:
            ids.add(json.loads(line)["id"])
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{target}:{number}: not a case with an id") from error
    return ids
