"""Writes a run as one HTML file that a clinician can read: headline, gates, slices, cases. It loads nothing from elsewhere."""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, select_autoescape

from evals.catalog import METRICS
from evals.metrics import risk_coverage_curve
from evals.run import Row, SuiteRun
from evals.summary import GateResult
from evals.table import interval, number, trust_line

SLICE_METRICS = 4
"""How many metrics the table of slices shows; all are in `summary.json`."""
MOST_FAILED, MOST_PASSED = 400, 300
"""How many cases of a suite the report shows; all are in `results.jsonl`."""
CURVE_POINTS = 100


def write_report(path: Path, runs: Sequence[SuiteRun], gates: Mapping[str, Sequence[GateResult]], summary: Mapping[str, Any]) -> None:
    """Write the report; everything that a user or the bot wrote is escaped."""
    environment = Environment(autoescape=select_autoescape(default=True, default_for_string=True), trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((resources.files("evals") / "pages" / "report.html").read_text(encoding="utf-8"))
    parts = [_part(run, gates[run.suite.name], part) for run, part in zip(runs, summary["suites"], strict=True)]
    html = template.render(
        parts=parts,
        config=summary["config"],
        passed=all(part["passed"] for part in parts),
        name=path.parent.name,
        number=number,
        interval=interval,
        trust_line=trust_line,
    )
    path.write_text(html, encoding="utf-8")


def _part(run: SuiteRun, gates: Sequence[GateResult], summary: Mapping[str, Any]) -> dict[str, Any]:
    failed = [row for row in run.rows if not row.scored.passed]
    passed = [row for row in run.rows if row.scored.passed]
    shown = [_case(row) for row in (*failed[:MOST_FAILED], *_spread(passed, MOST_PASSED))]
    return {
        **summary,
        "why": run.suite.why,
        "files": [path.name for path in run.suite.data],
        "gates": gates,
        "says": {name: METRICS[name].says for name in run.metrics},
        "is_share": {name: METRICS[name].how in ("share", "mean") and name not in ("words", "reading_grade") for name in run.metrics},
        "slice_metrics": [name for name in run.metrics if summary["metrics"][name]["n"]][:SLICE_METRICS],
        "failed": len(failed),
        "cases": shown,
        "cases_left_out": len(run.rows) - len(shown),
        "filters": {key: list(groups) for key, groups in summary["slices"].items()},
        "curve": _curve(run),
        "times": _times(run),
    }


def _spread(rows: Sequence[Row], most: int) -> Sequence[Row]:
    """Return at most so many rows, evenly from all."""
    return rows if len(rows) <= most else [rows[i * len(rows) // most] for i in range(most)]


def _case(row: Row) -> dict[str, Any]:
    expected = {key: value for key, value in row.case.expected.items() if value not in (None, [], "")}
    return {
        "id": row.case.id,
        "passed": row.scored.passed,
        "slices": [f"{key}={value}" for key, values in row.case.tags.items() for value in values],
        "messages": row.case.given["messages"],
        "expected": "; ".join(f"{key}: {_words(value)}" for key, value in expected.items()),
        "got": row.scored.got,
        "why": row.scored.why,
        "tags": ", ".join(f"{key} {value}" for key, values in row.case.tags.items() for value in values),
        "citations": row.observed.get("reply", {}).get("citations", []),
    }


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} ({item})" for key, item in value.items())
    return " | ".join(map(str, value)) if isinstance(value, list) else str(value)


def _curve(run: SuiteRun) -> str:
    """Return the risk-coverage curve as the points of an SVG line in a 100 by 100 box, or '' where it is not measured."""
    pairs = [(row.scored.scores["risk"][0], bool(row.scored.scores["risk"][1])) for row in run.rows if row.scored.scores.get("risk")]
    if len(pairs) < 2:
        return ""
    points = risk_coverage_curve(pairs)
    step = max(1, len(points) // CURVE_POINTS)
    return " ".join(f"{100 * coverage:.1f},{100 - 100 * risk:.1f}" for coverage, risk in [*points[:-1:step], points[-1]])


def _times(run: SuiteRun) -> dict[str, Any]:
    """Return the share of replies by time as the points of an SVG line in a 100 by 100 box; empty where time is not measured."""
    times = sorted(row.scored.scores["ms"] for row in run.rows if row.scored.scores.get("ms") is not None)
    if len(times) < 2:
        return {}
    step = max(1, len(times) // CURVE_POINTS)
    shown = [*range(0, len(times) - 1, step), len(times) - 1]
    points = " ".join(f"{100 * times[i] / times[-1]:.1f},{100 - 100 * (i + 1) / len(times):.1f}" for i in shown)
    return {"points": points, "longest": f"{times[-1]:.0f}"}
