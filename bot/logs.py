"""Writes the log as one JSON object a line. Of an exception only type and place are kept, since its text may quote a message."""

import datetime as dt
import json
import logging
import sys
import traceback
from typing import Any

FIELDS = ("outcome", "level", "codes", "model", "ms")
"""What a caller may attach to a line with `extra`, beside its message."""


class JsonLines(logging.Formatter):
    """Formats a record as JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line of JSON."""
        line: dict[str, Any] = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
            "severity": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info and record.exc_info[0]:
            frames = traceback.extract_tb(record.exc_info[2])
            line["error"] = record.exc_info[0].__name__
            line["at"] = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
        return json.dumps(line, ensure_ascii=False)


def start_logging(level: str) -> None:
    """Write the product's own log lines of `level` and above to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("bot", "ingest"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level.upper())
