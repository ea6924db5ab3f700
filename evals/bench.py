"""Measures speed, memory and growth on this machine: `make bench`. Ratios are within one run; the tables go to evals/BENCH.md.

`--quick` runs every measurement once, small, to see that they run; its numbers mean nothing and are not written.
"""

import argparse
import datetime as dt
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bot.guardrail.check import check_message
from bot.open import open_chain
from bot.settings import Settings, read_settings
from bot.turn import Message
from evals.bench_ingest import edit_one_section, exponent, grow, throughput
from evals.bench_load import load, resident_mb_of, server
from evals.bench_memory import memory_curve
from evals.bench_side import CannotCompare, side_by_side
from ingest.cli import BadInput, ingest, write
from ingest.index import BadIndex, Store

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
    chunks: int
    ingests: int
    growth: tuple[int, ...]
    queries: int | None


FULL = Size(
    rounds=30,
    starts=5,
    turns=256,
    clients=(1, 8, 32, 128),
    memory_turns=20_000,
    chunks=100,
    ingests=3,
    growth=(1_000, 10_000, 100_000),
    queries=None,
)
QUICK = Size(rounds=1, starts=1, turns=4, clients=(1, 2), memory_turns=14, chunks=8, ingests=1, growth=(40, 80), queries=4)


@dataclass
class Table:
    """One table of the page: what it says about itself, its columns and its rows."""

    title: str
    columns: tuple[str, ...]
    note: str = ""
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """Add a row, and show it at once."""
        self.rows.append(cells)
        write(f"  {' | '.join(cells)}")

    def as_markdown(self) -> str:
        """Return the table under its heading."""
        lines = [f"## {self.title}", "", *([self.note, ""] if self.note else [])]
        lines += [f"| {' | '.join(cells)} |" for cells in (self.columns, ("---",) * len(self.columns), *self.rows)]
        return "\n".join(lines)


def measure_turn(settings: Settings, size: Size) -> Table:
    """Measure one turn against its floor: the query embedded once and one Chroma query."""
    table = Table("One answered turn, without a chat model", ("measured", "p50", "p95", "goal"))
    live = open_chain(settings).open_retriever()
    chain = open_chain(settings)
    floor = times_ms(lambda question: live.index.nearest(live.embed(question), records=24), size.rounds)
    guard = times_ms(lambda question: check_message([Message(role="user", content=question)]), size.rounds)
    turn = times_ms(lambda question: chain.respond([Message(role="user", content=question)]), size.rounds)
    table.add("floor: the query embedded once, one Chroma query", *_p50_p95(floor), "")
    table.add("guardrail on the message", *_p50_p95(guard), "")
    table.add("whole turn", *_p50_p95(turn), "")
    table.add("whole turn ÷ floor", *_ratios(turn, floor), "1.5")
    table.add("whole turn without the guardrail ÷ floor", *_ratios([a - b for a, b in zip(turn, guard, strict=True)], floor), "1.5")
    embedder, together = live.embedder, QUESTIONS * 8
    one_by_one = times_ms(lambda question: embedder.embed([question]), size.rounds)
    batches = times_ms(lambda _: embedder.embed(together), max(1, size.rounds // 10))
    table.add("embedding a query, alone", *_p50_p95(one_by_one), "")
    table.add(f"embedding a query, in a batch of {len(together)}", *_p50_p95([ms / len(together) for ms in batches]), "")
    table.note = (
        "Nothing is reranked by another model. Concurrent queries are not gathered into batches: gathering them halved what two cores "
        "embed, since two queries side by side use both cores better; the last two rows show what a batch could save at most."
    )
    return table


def measure_start(settings: Settings, size: Size) -> Table:
    """Measure cold start, the ingest that finds nothing to do, and the memory of a serving process."""
    table = Table("Start and memory", ("measured", "value", "goal"))
    for what, arguments, goal in (
        ("cold start to the first answer: `backtalk ask`", ["ask", QUESTIONS[0]], "3 s"),
        ("`backtalk ingest` with nothing changed", ["ingest"], "1 s"),
    ):
        times = []
        for _ in range(size.starts):
            started = time.perf_counter()
            subprocess.run(
                [COMMAND, *arguments], env={**os.environ, "BACKTALK_INDEX": str(settings.index)}, check=False, capture_output=True
            )
            times.append(time.perf_counter() - started)
        table.add(f"{what}, whole process", f"{np.median(times):.2f} s", goal)
    with server(settings) as (url, pid):
        table.add("resident memory of `backtalk serve`, ready", f"{resident_mb_of(pid):.0f} MB", "400 MB")
        load([url], QUESTIONS, clients=1, turns=min(100, size.turns * 10))
        table.add("resident memory of `backtalk serve`, after 100 turns", f"{resident_mb_of(pid):.0f} MB", "400 MB")
    return table


def measure_load(settings: Settings, size: Size) -> Table:
    """Measure turns per second of one serving process and of two."""
    table = Table(
        "Turns a second over HTTP",
        ("clients", "1 process", "p95", "2 processes", "p95"),
        f"Clients that ask without a pause, on the same {os.cpu_count()} cores as the servers; with two processes every other call goes to each.",
    )
    found: dict[int, list[str]] = {}
    for processes in (1, 2):
        with ExitStack() as stack:
            urls = [stack.enter_context(server(settings))[0] for _ in range(processes)]
            load(urls, QUESTIONS, clients=processes, turns=8 * processes)
            for clients in size.clients:
                done = load(urls, QUESTIONS, clients=clients, turns=max(size.turns, clients))
                found.setdefault(clients, []).extend([f"{done.turns_per_s:.1f}", f"{done.p95_ms:.0f} ms"])
                write(f"  {processes} processes, {clients} clients: {done.turns_per_s:.1f} turns/s")
    for clients, cells in found.items():
        table.add(str(clients), *cells)
    return table


def measure_ingest(settings: Settings, size: Size) -> Table:
    """Measure ingest against bare embedding and stock LangChain, and the edit of one section."""
    table = Table("Ingest", ("measured", "value", "goal"), f"Medians of {size.ingests}; the three systems take turns over the same texts.")
    with tempfile.TemporaryDirectory() as name:
        times = throughput(settings, Path(name), chunks=size.chunks, rounds=size.ingests)
        bare, ours, stock = (float(np.median(times[key])) for key in ("bare", "ours", "stock"))
        table.add(f"bare embedding of {times['texts'][0]:.0f} texts", f"{bare:.2f} s", "")
        table.add("ours: embedded, written, read back, switched", f"{ours:.2f} s, {bare / ours:.0%} of bare speed", "95 %")
        table.add("stock LangChain: `Chroma.from_documents`", f"{stock:.2f} s, {stock / ours:.2f} times ours", "")
        edit = edit_one_section(settings, Path(name))
        table.add("one sentence of one section edited", f"{edit.embedded} texts embedded, {edit.seconds:.2f} s", "its section only")
    return table


def measure_growth(settings: Settings, size: Size) -> Table:
    """Measure time, memory and size of ever larger indexes."""
    names = ("ingest_s", "open_s", "nearest_ms", "search_ms", "resident_mb", "disk_mb")
    table = Table(
        "Growth",
        ("chunks", "ingest", "open", "nearest vectors", "whole search", "memory", "disk"),
        "Each chunk is a real sentence with the vector of a real one and seeded noise, since embedding grows in proportion and is measured "
        "above; a chunk makes two rows. Memory is what a process gains by opening the index and searching it. The last row is b in a · chunks^b.",
    )
    points = []
    with tempfile.TemporaryDirectory() as name:
        for chunks in size.growth:
            point = grow(settings, Path(name) / str(chunks), chunks)
            points.append(point)
            table.add(
                f"{chunks:,}",
                f"{point.ingest_s:.1f} s",
                f"{point.open_s:.1f} s",
                f"{point.nearest_ms:.1f} ms",
                f"{point.search_ms:.1f} ms",
                f"{point.resident_mb:.0f} MB",
                f"{point.disk_mb:.0f} MB",
            )
    table.add("exponent", *(f"{exponent([(point.chunks, getattr(point, name)) for point in points]):.2f}" for name in names))
    return table


def measure_side(settings: Settings, size: Size) -> Table:
    """Measure what a user would pick instead, each in a process of its own."""
    table = Table(
        "Beside what you might pick instead",
        ("system", "ingest", "time per query", "memory", "nDCG@10"),
        "The same articles, the same embedding model on the same runtime, each the way its own tutorial builds it, no chat model; questions of "
        "`evals/data/questions.jsonl` that the articles answer, an article ranked by its best piece. Ingest is of the whole, from articles "
        "in memory, and ours also embeds every sentence, to quote single ones. Memory is of the whole process after the queries.",
    )
    with tempfile.TemporaryDirectory() as name:
        for system in ("Backtalk", "LangChain", "LlamaIndex"):
            try:
                side = side_by_side(system, settings, Path(name), queries=size.queries)
            except CannotCompare as error:
                table.add(system, f"could not be measured here: {error}", "", "", "")
                continue
            table.add(system, f"{side.ingest_s:.1f} s", f"{side.query_ms:.1f} ms", f"{side.resident_mb:.0f} MB", f"{side.ndcg:.3f}")
    return table


def measure_memory(settings: Settings, size: Size) -> Table:
    """Watch memory over many turns."""
    table = Table("Memory over many turns", ("turns", "resident"), "One process, mixed conversations, each message unlike all before it.")
    # In a process of its own: this one holds what the other parts left.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as apart:
        curve = apart.submit(memory_curve, settings, turns=size.memory_turns).result()
    for turns, mb in curve:
        table.add(f"{turns:,}", f"{mb:.0f} MB")
    second = curve[len(curve) // 2 :]
    slope = np.polyfit([turns / 1000 for turns, _ in second], [mb for _, mb in second], 1)[0] if len(second) > 1 else 0.0
    table.add("second half, per 1,000 turns", f"{slope:+.2f} MB")
    return table


PARTS: dict[str, Callable[[Settings, Size], Table]] = {
    "turn": measure_turn,
    "start": measure_start,
    "load": measure_load,
    "ingest": measure_ingest,
    "side": measure_side,
    "growth": measure_growth,
    "memory": measure_memory,
}


def times_ms(call: Callable[[str], object], rounds: int) -> list[float]:
    """Return the times of `call` over the questions, in milliseconds and in the order of the questions, after one warm-up round."""
    for question in QUESTIONS:
        call(question)
    times = []
    for _ in range(rounds):
        for question in QUESTIONS:
            started = time.perf_counter()
            call(question)
            times.append(1000 * (time.perf_counter() - started))
    return times


def _p50_p95(times: list[float]) -> tuple[str, str]:
    return f"{np.percentile(times, 50):.1f} ms", f"{np.percentile(times, 95):.1f} ms"


def _ratios(times: list[float], floor: list[float]) -> tuple[str, str]:
    return tuple(f"{np.percentile(times, q) / np.percentile(floor, q):.2f}" for q in (50, 95))  # type: ignore[return-value]


def as_markdown(tables: list[Table], *, minutes: float) -> str:
    """Return the tables as a page."""
    load_then = ", ".join(f"{part:.1f}" for part in os.getloadavg())
    head = (
        f"Written by `make bench` on {dt.datetime.now(dt.UTC):%Y-%m-%d} in {minutes:.0f} minutes. Python {platform.python_version()}, "
        f"{os.cpu_count()} cores, load at the end {load_then}. Compare ratios, not times: they are within this one run."
    )
    return "\n\n".join(["# Speed and size", head, *(table.as_markdown() for table in tables)]) + "\n"


def main() -> None:
    """Run every measurement, or those that are named."""
    parser = argparse.ArgumentParser(prog="python -m evals.bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", nargs="*", choices=[[], *PARTS], help="only these; then nothing is written")
    parser.add_argument("--quick", action="store_true", help="once and small, to see that it runs; nothing is written")
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    settings = read_settings()
    ingest(settings.kb, Store(settings.index), model=settings.embedding_model, rebuild=False, reviewed_only=settings.reviewed_only)
    started, tables = time.monotonic(), []
    for name in options.part or PARTS:
        write(f"{name} ({time.monotonic() - started:.0f} s so far)")
        try:
            tables.append(PARTS[name](settings, size))
        except (BadInput, BadIndex) as error:
            # The other parts are still worth their minutes.
            tables.append(Table(name, ("not measured",), rows=[(str(error),)]))
            write(f"  not measured: {error}")
        if not options.quick and not options.part:
            TARGET.write_text(as_markdown(tables, minutes=(time.monotonic() - started) / 60), encoding="utf-8")


if __name__ == "__main__":
    main()
