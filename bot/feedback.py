"""Takes thumbs up or down, with an optional comment, into SQLite beside the index. The conversation is kept only with consent."""

import json
import logging
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from bot.turn import MAX_MESSAGES, Message

log = logging.getLogger(__name__)
SCHEMA = """
CREATE TABLE IF NOT EXISTS feedback (
    id INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    rating TEXT NOT NULL CHECK (rating IN ('up', 'down')),
    comment TEXT,
    reply_id TEXT,
    consent INTEGER NOT NULL,
    messages TEXT CHECK (messages IS NULL OR consent = 1)
)
"""


class Feedback(BaseModel):
    """What a person thought of a reply. `comment` is written to be sent; `messages` needs `consent` to be kept."""

    model_config = ConfigDict(extra="forbid")

    rating: Literal["up", "down"]
    consent: bool = Field(description="May the conversation be kept with the rating?")
    comment: str | None = Field(default=None, max_length=2000)
    reply_id: str | None = Field(default=None, max_length=100)
    messages: list[Message] | None = Field(default=None, max_length=MAX_MESSAGES)


class Stored(BaseModel):
    """What was kept."""

    id: int
    messages_stored: bool


def feedback_router(path: Path) -> APIRouter:
    """Return the route `/api/feedback`.

    Args:
        path: the SQLite file; it is made at the first rating, readable by its owner only.
    """
    router = APIRouter()

    @router.post("/api/feedback", status_code=201, summary="Rate a reply")
    def rate(body: Feedback) -> Stored:
        try:
            return store(path, body)
        except (sqlite3.Error, OSError) as error:
            log.error("feedback: %s", type(error).__name__)
            raise HTTPException(503, "the feedback cannot be stored right now") from error

    return router


def store(path: Path, feedback: Feedback) -> Stored:
    """Write one rating.

    Raises:
        sqlite3.Error, OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    messages = None
    if feedback.consent and feedback.messages:
        messages = json.dumps([message.model_dump() for message in feedback.messages], ensure_ascii=False)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    row = (at, feedback.rating, feedback.comment, feedback.reply_id, feedback.consent, messages)
    # One connection a rating: handlers run in threads, and a connection belongs to one.
    with closing(sqlite3.connect(path, timeout=5)) as connection, connection:
        connection.execute(SCHEMA)
        cursor = connection.execute(
            "INSERT INTO feedback (at, rating, comment, reply_id, consent, messages) VALUES (?, ?, ?, ?, ?, ?)", row
        )
        return Stored(id=cursor.lastrowid or 0, messages_stored=messages is not None)
