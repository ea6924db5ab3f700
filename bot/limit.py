"""Decides who may call the API and how often: keys for sites if any are set, and a rate per key and address. Kept in this process's memory."""

import hmac
import math
import time
from collections.abc import Callable

from fastapi import Request
from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.exceptions import HTTPException

from bot.settings import BadSetting, Settings


def open_limiter(settings: Settings) -> Callable[[Request], None]:
    """Return the check that each call must pass; it raises 401 or 429.

    The address is the one that uvicorn reports: behind a proxy on this machine, that of the caller.

    Raises:
        BadSetting: the rate cannot be read.
    """
    keys = [key.strip().encode() for key in settings.api_keys.get_secret_value().split(",") if key.strip()] if settings.api_keys else []
    try:
        rate = parse(settings.rate_limit) if settings.rate_limit else None
    except ValueError as error:
        raise BadSetting(f"BACKTALK_RATE_LIMIT: not a rate such as 600/minute: {settings.rate_limit!r}") from error
    limiter = MovingWindowRateLimiter(MemoryStorage())

    def check(request: Request) -> None:
        key = ""
        if keys:
            key = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
            if not any(hmac.compare_digest(key.encode(), known) for known in keys):
                raise HTTPException(401, "a valid key is needed: authorization: bearer <key>", headers={"WWW-Authenticate": "Bearer"})
        address = request.client.host if request.client else ""
        if rate and not limiter.hit(rate, key, address):
            wait = max(1, math.ceil(limiter.get_window_stats(rate, key, address).reset_time - time.time()))
            raise HTTPException(429, f"too many requests; try again in {wait} s", headers={"Retry-After": str(wait)})

    return check
