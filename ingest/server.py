"""Reaches a Chroma server: your own (`chroma run`), or Chroma Cloud by the same setting."""

import os
import urllib.request
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from chromadb.api.client import Client

TIMEOUT_S = 5.0
"""Seconds that the server may take for what a reader asks; Chroma's own client would wait for ever."""
WRITE_TIMEOUT_S = 120.0
"""Seconds that it may take for a page of rows while an index is built: nobody waits for an answer then."""
PAGE = 300
"""Rows read or written in one request: the most that Chroma Cloud takes."""


def connect(url: str, *, building: bool = False) -> "Client":
    """Open a client; the caller closes it.

    Args:
        url: of the server; a path names tenant and database, as in https://api.trychroma.com/TENANT/DATABASE. The key of Chroma Cloud
            is read from CHROMA_API_KEY, Chroma's own variable.
        building: give it the time that writing takes.

    Raises:
        OSError: nothing answers there in time.
        ValueError: no such tenant or database.
    """
    import chromadb
    from chromadb.config import DEFAULT_DATABASE, DEFAULT_TENANT, Settings

    parts = urlsplit(url)
    secure = parts.scheme == "https"
    tenant, _, database = parts.path.strip("/").partition("/")
    key = os.environ.get("CHROMA_API_KEY", "")
    # First with a time limit, since opening the client knows none.
    with urllib.request.urlopen(f"{parts.scheme}://{parts.netloc}/api/v2/heartbeat", timeout=TIMEOUT_S):
        pass
    client = cast(
        "Client",
        chromadb.HttpClient(
            host=parts.hostname or "localhost",
            port=parts.port or (443 if secure else 80),
            ssl=secure,
            headers={"x-chroma-token": key} if key else None,
            tenant=tenant or DEFAULT_TENANT,
            database=database or DEFAULT_DATABASE,
            settings=Settings(anonymized_telemetry=False),
        ),
    )
    # There is no setting for it; a test holds a silent server against this line.
    cast(Any, client)._server._session.timeout = WRITE_TIMEOUT_S if building else TIMEOUT_S
    return client
