"""Watches the resident memory of the bot over many turns of mixed kinds."""

import gc
import os
from pathlib import Path

from bot.open import open_chain
from bot.settings import Settings
from bot.turn import Message

KINDS = (
    "Is running bad for my back?",
    "Heat or ice for a sore back?",
    "my back hurts and I have gone numb between my legs",
    "hello",
    "who won the football",
    "me duele la espalda",
    "How long does sciatica last, and is walking good for it?",
)


def resident_mb() -> float:
    """Return the resident memory of this process in MB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def memory_curve(settings: Settings, *, turns: int, points: int = 20) -> list[tuple[int, float]]:
    """Return (turns so far, MB resident), `points` times over `turns` turns, each message made different from all before it."""
    chain = open_chain(settings)
    every = max(1, turns // points)
    curve = []
    for number in range(1, turns + 1):
        text = f"{KINDS[number % len(KINDS)]} ({number})"
        earlier = [Message(role="user", content="My back hurts."), Message(role="assistant", content="I see.")] if number % 3 == 0 else []
        chain.respond([*earlier, Message(role="user", content=text)])
        if number % every == 0:
            gc.collect()
            curve.append((number, round(resident_mb(), 1)))
    return curve
