"""Watches the resident memory of the bot over many turns of mixed kinds."""

import gc
import os
from concurrent.futures import ThreadPoolExecutor

from bot.open import open_chain
from bot.settings import Settings
from bot.turn import Message
from evals.bench_load import resident_mb_of

KINDS = (
    "Is running bad for my back?",
    "Heat or ice for a sore back?",
    "my back hurts and I have gone numb between my legs",
    "hello",
    "who won the football",
    "me duele la espalda",
    "How long does sciatica last, and is walking good for it?",
)


def memory_curve(settings: Settings, *, turns: int, points: int = 10) -> list[tuple[int, float]]:
    """Return (turns so far, MB resident), `points` times over `turns` turns on as many threads as cores, no message like another."""
    chain = open_chain(settings)

    def turn(number: int) -> None:
        text = f"{KINDS[number % len(KINDS)]} ({number})"
        earlier = [Message(role="user", content="My back hurts."), Message(role="assistant", content="I see.")] if number % 3 == 0 else []
        chain.respond([*earlier, Message(role="user", content=text)])

    every = max(1, turns // points)
    curve = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for first in range(0, turns, every):
            list(pool.map(turn, range(first, min(first + every, turns))))
            gc.collect()
            curve.append((min(first + every, turns), round(resident_mb_of(os.getpid()), 1)))
    return curve
