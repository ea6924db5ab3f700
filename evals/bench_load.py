"""Turns per second with many clients at once, against real server processes over HTTP."""

import asyncio
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np

from bot.settings import Settings
from ingest.cli import BadInput


@dataclass(frozen=True)
class Load:
    """What a crowd of clients got."""

    turns_per_s: float
    p95_ms: float


@contextmanager
def server(settings: Settings) -> Iterator[tuple[str, int]]:
    """Run `backtalk serve` and yield its address and process id.

    Raises:
        BadInput: it does not come up within two minutes.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).parent / "backtalk"), "serve", "--port", str(port)]
    environment = {**os.environ, "BACKTALK_INDEX": str(settings.index), "BACKTALK_RATE_LIMIT": ""}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(f"{url}/readyz", timeout=5):
                    break
            except (urllib.error.URLError, OSError) as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise BadInput(f"{' '.join(command)}: did not come up") from error
                time.sleep(0.2)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(60)


def load(urls: list[str], questions: list[str], *, clients: int, turns: int) -> Load:
    """Return what `clients` get who ask without a pause, `turns` in all, the calls dealt out to the addresses in turn."""
    times: list[float] = []

    async def run() -> float:
        left = iter(range(turns))
        async with httpx.AsyncClient(timeout=300, limits=httpx.Limits(max_connections=clients)) as client:

            async def ask() -> None:
                for number in left:
                    body = {"messages": [{"role": "user", "content": questions[number % len(questions)]}]}
                    asked = time.perf_counter()
                    (await client.post(f"{urls[number % len(urls)]}/api/chat", json=body)).raise_for_status()
                    times.append(1000 * (time.perf_counter() - asked))

            started = time.perf_counter()
            await asyncio.gather(*(ask() for _ in range(clients)))
            return turns / (time.perf_counter() - started)

    return Load(asyncio.run(run()), float(np.percentile(times, 95)))


def resident_mb_of(pid: int) -> float:
    """Return the resident memory of a process in MB (Linux)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
