"""Decides who may call the API, how often and how much: keys for sites if any are set, a rate per key and address, a size. In memory."""

import hmac
import math
import time
from urllib.parse import urlsplit

from fastapi import Request, Response
from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bot.settings import BadSetting, Settings

MAX_BODY = 2_000_000
"""Bytes of a request's body."""
MAX_CONVERSATION = 200_000
"""Characters of a conversation, all its messages together; the guardrail reads every one of them at each turn."""


class Limiter:
    """The check that each call must pass: the right key if any are set, and not too many calls."""

    def __init__(self, settings: Settings) -> None:
        """Read keys and rate.

        A key may be bound to a site, as `key@https://club.example`; it is then taken only from pages of that site. A widget's key
        stands in the page for all to read: the binding keeps other sites' pages from using it, the rate limits the rest.

        Raises:
            BadSetting: the rate or a key's site cannot be read.
        """
        self.sites = _read_keys(settings.api_keys.get_secret_value()) if settings.api_keys else {}
        try:
            self.rate = parse(settings.rate_limit) if settings.rate_limit else None
        except ValueError as error:
            raise BadSetting(f"BACKTALK_RATE_LIMIT: not a rate such as 600/minute: {settings.rate_limit!r}") from error
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def __call__(self, request: Request) -> None:
        """Let a call of the API pass.

        The address is the one that uvicorn reports: behind a proxy on this machine, that of the caller.

        Raises:
            HTTPException: 401 for a missing or unknown key, 403 for one that is bound to another site, 429 for too many calls.
        """
        key = ""
        if self.sites:
            key = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
            known = [site for other, site in self.sites.items() if hmac.compare_digest(key.encode(), other.encode())]
            if not known:
                raise HTTPException(401, "a valid key is needed: authorization: bearer <key>", headers={"WWW-Authenticate": "Bearer"})
            if known[0] and request.headers.get("origin", "") != known[0]:
                raise HTTPException(403, "this key belongs to another site")
        self.spend(key, request.client.host if request.client else "")

    def spend(self, key: str, address: str) -> None:
        """Count one call of a key from an address.

        Raises:
            HTTPException: 429, with the seconds to wait in Retry-After.
        """
        if self.rate and not self._limiter.hit(self.rate, key, address):
            wait = max(1, math.ceil(self._limiter.get_window_stats(self.rate, key, address).reset_time - time.time()))
            raise HTTPException(429, f"too many requests; try again in {wait} s", headers={"Retry-After": str(wait)})


class BodyLimit:
    """Refuses a request whose body is too large, also one that does not say its size beforehand."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, refusal: Response) -> None:
        """Wrap an application; `refusal` is the answer to a body of more than `max_bytes`."""
        self.app, self.max_bytes, self.refusal = app, max_bytes, refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the size if it is said, else count the bytes as they come."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if said.isdigit() and int(said) > self.max_bytes:
            await self.refusal(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                # Raised while a route reads the body: FastAPI lets it through to the error handler.
                raise HTTPException(413, f"a request may have at most {self.max_bytes} bytes")
            return message

        await self.app(scope, counted, send)


def _read_keys(text: str) -> dict[str, str]:
    """Return each key with the origin that it is bound to, '' for none."""
    sites: dict[str, str] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        key, _, site = entry.partition("@")
        parts = urlsplit(site)
        if not key or (site and (parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"))):
            raise BadSetting("BACKTALK_API_KEYS: an entry is neither a key nor key@https://site")
        sites[key] = site.rstrip("/")
    return sites
