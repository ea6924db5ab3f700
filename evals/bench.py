"""Measures speed, memory and growth on this machine: `make bench`. Ratios are within one run; the table goes to evals/BENCH.md.

`--quick` runs every measurement once, small, to see that they run; its numbers mean nothing.
"""

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bot.guardrail.check import check_message
from bot.open import open_chain
from bot.settings import Settings, read_settings
from bot.turn import Message
from evals.bench_ingest import exponent, grow, throughput
from evals.bench_load import server, turns_per_second
from evals.bench_memory import memory_curve
from ingest.cli import ingest, write
from ingest.index import Store

QUESTIONS = ["Is running bad for my back?", "Heat or ice for a sore back?", "Should I take ibuprofen before a race?", "Does TENS work?"]
TARGET = Path(__file__).parent / "BENCH.md"
COMMAND = str(Path(sys.executable).parent / "backtalk")


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int
    starts: int
    turns: int
    clients: tuple[int, ...]
    memory_turns: int
    chunks: int | None
    growth: tuple[int, ...]


FULL = Size(rounds=30, starts=5, turns=512, clients=(1, 8, 32, 128), memory_turns=20_000, chunks=None, growth=(1_000, 10_000, 100_000))
QUICK = Size(rounds=1, starts=1, turns=8, clients=(1, 8), memory_turns=40, chunks=8, growth=(100, 400))


@dataclass
class Table:
    """The rows that are measured, each with its goal if it has one."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, what: str, value: str, goal: str = "") -> None:
        """Add a row, and show it at once."""
        self.rows.append((what, value, goal))
        write(f"{what}: {value}")


def median_ms(call: Callable[[str], object], rounds: int) -> float:
    """Return the median time of `call` over the questions, in milliseconds, after one warm-up round."""
    for question in QUESTIONS:
        call(question)
    times = []
    for _ in range(rounds):
        for question in QUESTIONS:
            started = time.perf_counter()
            call(question)
            times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


def measure_turn(settings: Settings, size: Size, table: Table) -> None:
    """Measure one turn against its floor: the query embedded once and one Chroma query."""
    chain = open_chain(settings)
    live = chain.open_retriever()
    floor = median_ms(lambda question: live.index.nearest(live.embed(question), records=24), size.rounds)
    guard = median_ms(lambda question: check_message([Message(role="user", content=question)]), size.rounds)
    turn = median_ms(lambda question: chain.respond([Message(role="user", content=question)]), size.rounds)
    table.add("floor: embed the query, one Chroma query", f"{floor:.1f} ms")
    table.add("guardrail on the message", f"{guard:.1f} ms")
    table.add("whole answered turn", f"{turn:.1f} ms, {turn / floor:.2f} times the floor", "1.5 times")
    table.add("turn without the guardrail's part", f"{(turn - guard) / floor:.2f} times the floor")


def measure_start(settings: Settings, size: Size, table: Table) -> None:
    """Measure cold start and the ingest that finds nothing to do, as processes of their own."""
    for what, arguments, goal in (
        ("cold start to the first answer (`backtalk ask`)", ["ask", QUESTIONS[0]], "3 s"),
        ("ingest with nothing changed, whole process", ["ingest"], "1 s"),
    ):
        times = []
        for _ in range(size.starts):
            started = time.perf_counter()
            subprocess.run([COMMAND, *arguments], env=_environment(settings), check=False, capture_output=True)
            times.append(time.perf_counter() - started)
        table.add(what, f"{statistics.median(times):.2f} s", goal)


def measure_load(settings: Settings, size: Size, table: Table) -> None:
    """Measure turns per second of one serving process, and its memory."""
    with server(settings) as (url, pid):
        table.add("resident memory of a serving process, ready", f"{_resident_mb(pid):.0f} MB", "400 MB")
        for clients in size.clients:
            rate = turns_per_second(url, QUESTIONS, clients=clients, turns=max(size.turns, clients))
            table.add(f"turns a second, {clients} clients, one process", f"{rate:.1f}")
        table.add("resident memory after that", f"{_resident_mb(pid):.0f} MB")


def measure_ingest(settings: Settings, size: Size, table: Table) -> None:
    """Measure ingest against bare embedding and stock LangChain, then growth."""
    with tempfile.TemporaryDirectory() as folder:
        times = throughput(settings, Path(folder), limit=size.chunks)
        table.add("ingest: bare embedding of the same texts", f"{times['bare']:.1f} s")
        table.add("ingest: ours, checked and switched", f"{times['ours']:.1f} s, {times['bare'] / times['ours']:.0%} of bare speed", "95 %")
        table.add("ingest: LangChain `Chroma.from_documents`", f"{times['stock']:.1f} s, {times['stock'] / times['ours']:.2f} times ours")
        points = [grow(Path(folder), chunks) for chunks in size.growth]
    for point in points:
        table.add(
            f"{point.chunks:,} chunks, vectors given",
            f"ingest {point.ingest_s:.1f} s, query {point.query_ms:.1f} ms, {point.size_mb:.0f} MB on disk, {point.resident_mb:.0f} MB resident",
        )
    for name in ("ingest_s", "query_ms", "size_mb"):
        table.add(f"growth of {name}: exponent", f"{exponent([(p.chunks, getattr(p, name)) for p in points]):.2f}")


def measure_memory(settings: Settings, size: Size, table: Table) -> None:
    """Watch memory over many turns."""
    curve = memory_curve(settings, turns=size.memory_turns)
    shown = ", ".join(f"{turns}: {mb:.0f}" for turns, mb in curve[:: max(1, len(curve) // 8)])
    table.add(f"resident MB by turn, {size.memory_turns:,} turns", shown, "flat")


def _environment(settings: Settings) -> dict[str, str]:
    return {**os.environ, "BACKTALK_INDEX": str(settings.index)}


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def as_markdown(table: Table, *, quick: bool) -> str:
    """Return the table as a page."""
    load = ", ".join(f"{part:.1f}" for part in os.getloadavg())
    lines = [
        "# Speed and size",
        "",
        f"Written by `make bench`{' --quick: these numbers mean nothing' if quick else ''}. Python {platform.python_version()}, "
        f"{os.cpu_count()} cores, load at the end {load}; ratios are within this one run.",
        "",
        "| measured | value | goal |",
        "|---|---|---|",
        *(f"| {what} | {value} | {goal} |" for what, value, goal in table.rows),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run every measurement, or those that are named."""
    parts = {
        "turn": measure_turn,
        "start": measure_start,
        "load": measure_load,
        "ingest": measure_ingest,
        "memory": measure_memory,
    }
    parser = argparse.ArgumentParser(prog="python -m evals.bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", nargs="*", choices=[[], *parts], help="only these; then nothing is written")
    parser.add_argument("--quick", action="store_true", help="once and small, to see that it runs; nothing is written")
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    settings = read_settings()
    ingest(settings.kb, Store(settings.index), model=settings.embedding_model, rebuild=False, reviewed_only=settings.reviewed_only)
    table = Table()
    for name in options.part or parts:
        parts[name](settings, size, table)
    if not options.quick and not options.part:
        TARGET.write_text(as_markdown(table, quick=False), encoding="utf-8")


if __name__ == "__main__":
    main()
