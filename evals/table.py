"""Prints results and comparisons in the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table

from evals.catalog import METRICS
from evals.compare import SuiteComparison

FLIPS = 40
WIDTH = 140
"""Of tables that go to a file or a pipe."""


def show(summary: dict[str, Any], console: Console | None = None) -> None:
    """Print one table a suite: its metrics with intervals, and its rivals beside them."""
    console = console or _console()
    for part in summary["suites"]:
        verdict = "passed" if part["passed"] else "FAILED"
        table = Table(title=f"{part['suite']}: {part['n']} cases, {verdict}, {part['seconds']} s", title_justify="left")
        table.add_column("metric", no_wrap=True)
        for heading in ("value", "95% interval", "n", *part["rivals"]):
            table.add_column(heading, justify="right")
        for name, value in part["metrics"].items():
            rivals = [number(rows.get(name, {}).get("value"), name) for rows in part["rivals"].values()]
            table.add_row(name, number(value["value"], name), interval(value, name), str(value["n"]), *rivals)
        console.print(table)
        for agreement in part["trust"]:
            console.print(trust_line(agreement), highlight=False, markup=False)


def trust_line(agreement: dict[str, Any]) -> str:
    """Return how far the scoring of a suite can be trusted, as one sentence."""

    def share(value: dict[str, Any]) -> str:
        return f"{number(value['value'], 'share')} ({interval(value, 'share')})"

    return (
        f"Whether a fact is stated is decided by {agreement['by']}: on {agreement['pairs']} held-out pairs labelled by a language model, "
        f"precision {share(agreement['precision'])}, recall {share(agreement['recall'])}, Cohen's kappa {agreement['kappa']:.2f}."
    )


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


def number(value: float | None, metric: str) -> str:
    """Return a value as shown: shares with three decimals, times and words as whole numbers."""
    if value is None:
        return "–"
    return (
        f"{value:.0f}" if metric.endswith("_ms") or metric == "words" else f"{value:.1f}" if metric == "reading_grade" else f"{value:.3f}"
    )


def interval(value: dict[str, Any], metric: str) -> str:
    """Return an interval as shown; 'not measured' where there was nothing to measure."""
    if value["value"] is None:
        return "not measured"
    return "–" if value["low"] is None else f"{number(value['low'], metric)} to {number(value['high'], metric)}"


def show_comparison(parts: list[SuiteComparison], console: Console | None = None) -> None:
    """Print what changed between two runs: flipped cases first, losses before gains, then each metric with its test."""
    console = console or _console()
    for part in parts:
        lost, won = sum(not flip.won for flip in part.flips), sum(flip.won for flip in part.flips)
        console.print(
            f"[bold]{part.suite}[/bold]: {lost} cases lost, {won} won, {len(part.only_a)} only in A, {len(part.only_b)} only in B"
        )
        for flip in part.flips[:FLIPS]:
            console.print(f"  {'won ' if flip.won else 'LOST'} {flip.id}: {flip.before} -> {flip.after}", markup=False, highlight=False)
        if len(part.flips) > FLIPS:
            console.print(f"  and {len(part.flips) - FLIPS} more; all with --json")
        table = Table()
        table.add_column("metric", no_wrap=True)
        for heading in ("A", "B", "change", "95% interval", "p", "n", "test"):
            table.add_column(heading, justify="right")
        for name, d in part.differences.items():
            better = METRICS[name].better
            mark = "" if d.p >= 0.05 or better == "neither" else " better" if (d.change > 0) == (better == "high") else " worse"
            table.add_row(
                name,
                number(d.a, name),
                number(d.b, name),
                f"{d.change:+.3f}{mark}",
                f"{d.low:+.3f} to {d.high:+.3f}",
                f"{d.p:.3f}",
                str(d.n),
                d.test,
            )
        console.print(table)
