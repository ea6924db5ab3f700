"""Measures speed and memory, as ratios within one run on one machine: `make bench`. Prints a table and writes evals/runs/bench.json."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bot.guardrail.check import check_message
from bot.open import open_chain
from bot.settings import read_settings
from bot.turn import Message
from ingest.cli import ingest
from ingest.index import Store

QUESTIONS = ["Is running bad for my back?", "Heat or ice for a sore back?", "Should I take ibuprofen before a race?", "Does TENS work?"]
ROUNDS = 30


def median_ms(call: Callable[[str], object]) -> float:
    """Return the median time of `call` over the questions, in milliseconds, after one warm-up round."""
    for question in QUESTIONS:
        call(question)
    times = []
    for _ in range(ROUNDS):
        for question in QUESTIONS:
            started = time.perf_counter()
            call(question)
            times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


def resident_mb() -> float:
    """Return the resident memory of this process in MB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Run every measurement."""
    settings = read_settings()
    store = Store(settings.index, url=settings.chroma_url)
    rows: list[tuple[str, str]] = []
    report, _ = ingest(settings.kb, store, model=settings.embedding_model, rebuild=False, reviewed_only=False)
    rows.append(
        ("ingest with nothing changed, index part", f"{report.seconds:.3f} s" if not report.embedded else "index was rebuilt; run again")
    )
    with tempfile.TemporaryDirectory() as folder:
        fresh = Store(Path(folder))
        fresh.models.mkdir()
        for file in store.models.iterdir():
            os.symlink(file, fresh.models / file.name)
        report, _ = ingest(settings.kb, fresh, model=settings.embedding_model, rebuild=False, reviewed_only=False)
    rows.append((f"first ingest of {report.added} chunks, {report.embedded} texts", f"{report.seconds:.1f} s"))

    chain = open_chain(settings)
    live = chain.open_retriever()
    floor = median_ms(lambda question: live.index.nearest(live.embed(question), records=24))
    guard = median_ms(lambda question: check_message([Message(role="user", content=question)]))
    turn = median_ms(lambda question: chain.respond([Message(role="user", content=question)]))
    rows += [
        ("floor: embed the query, one Chroma query", f"{floor:.1f} ms"),
        ("guardrail on the message", f"{guard:.1f} ms"),
        ("whole answered turn", f"{turn:.1f} ms, {turn / floor:.2f} times the floor"),
        ("resident memory after these turns", f"{resident_mb():.0f} MB"),
    ]
    started = time.perf_counter()
    subprocess.run([str(Path(sys.executable).parent / "backtalk"), "ask", QUESTIONS[0]], check=True, capture_output=True)
    rows.append(("cold start to the first answer (backtalk ask)", f"{time.perf_counter() - started:.1f} s"))

    table = Table("measured", "value")
    for name, value in rows:
        table.add_row(name, value)
    Console().print(table)
    target = Path(__file__).parent / "runs" / "bench.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(dict(rows), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
