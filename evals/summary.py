"""Sums a finished suite up: its metrics with intervals, by slice, beside its rivals, and whether its gates hold."""

from dataclasses import asdict, dataclass
from typing import Any

from evals.catalog import METRICS, estimate
from evals.metrics import Estimate
from evals.run import SuiteRun
from evals.suite import Gate

MOST_SLICES = 30
NAMED = 5
"""How many cases a failed gate names."""


@dataclass(frozen=True)
class GateResult:
    """A gate, what was measured, and the first cases that speak against it."""

    text: str
    passed: bool
    line: str


def metrics_of(run: SuiteRun) -> dict[str, Estimate]:
    """Return every metric of the suite's kind."""
    scores = [row.scored.scores for row in run.rows]
    return {name: estimate(name, scores) for name in run.metrics}


def slices_of(run: SuiteRun) -> dict[str, dict[str, dict[str, Estimate]]]:
    """Return the metrics by slice and value; a key with nearly one value a case (such as a case's topic in words) is no slice."""
    values: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in run.rows:
        for key, names in row.case.tags.items():
            for name in names:
                values.setdefault(key, {}).setdefault(name, []).append(row.scored.scores)
    out = {}
    for key, groups in sorted(values.items()):
        if 1 < len(groups) <= MOST_SLICES:
            measured = {value: {name: estimate(name, scores) for name in run.metrics} for value, scores in sorted(groups.items())}
            out[key] = {value: {name: e for name, e in metrics.items() if e.n} for value, metrics in measured.items()}
    return out


def rivals_of(run: SuiteRun) -> dict[str, dict[str, Estimate]]:
    """Return the metrics of each rival."""
    return {rival: {name: estimate(name, scores) for name in run.metrics} for rival, scores in run.rivals.items()}


def gates_of(run: SuiteRun, metrics: dict[str, Estimate]) -> list[GateResult]:
    """Check the suite's gates; what was not measured does not pass."""
    results = []
    for gate in run.suite.read_gates():
        found = metrics.get(gate.metric)
        value = getattr(found, gate.part) if found else None
        if value is None:
            results.append(GateResult(gate.text, False, f"{run.suite.name}: {gate.text}: not measured"))
            continue
        passed = gate.holds(value)
        line = f"{run.suite.name}: {gate.text}: is {value:.4f}"
        if not passed:
            line += named(against(run, gate))
        results.append(GateResult(gate.text, passed, line))
    return results


def against(run: SuiteRun, gate: Gate) -> list[str]:
    """Return the ids of the cases that speak against a gate: the wrong ones of a share, else those beyond the bound, worst first."""
    metric = METRICS[gate.metric]
    values = [(row.case.id, row.scored.scores.get(metric.score)) for row in run.rows]
    if metric.how == "share":
        return [name for name, value in values if value is not None and value == (metric.better == "low")]
    graded = [(value, name) for name, value in values if isinstance(value, int | float) and not gate.holds(value)]
    return [name for _, name in sorted(graded, reverse=gate.sign == "<=")]


def named(ids: list[str]) -> str:
    """Return the first ids for a line of output."""
    if not ids:
        return ""
    return f"; first: {', '.join(ids[:NAMED])}" + (f" and {len(ids) - NAMED} more" if len(ids) > NAMED else "")


def summarise(run: SuiteRun, metrics: dict[str, Estimate], failures: list[str]) -> dict[str, Any]:
    """Return a suite's part of `summary.json` and of `--json`; `failures` are the lines of gates that failed."""
    return {
        "suite": run.suite.name,
        "n": len(run.rows),
        "metrics": {name: asdict(value) for name, value in metrics.items()},
        "passed": not failures,
        "failed_gates": failures,
        "rivals": {rival: {name: asdict(e) for name, e in rows.items() if e.n} for rival, rows in rivals_of(run).items()},
        "slices": {
            key: {value: {name: asdict(e) for name, e in rows.items()} for value, rows in groups.items()}
            for key, groups in slices_of(run).items()
        },
        "failed_cases": [row.case.id for row in run.rows if not row.scored.passed],
        "trust": [asdict(agreement) for agreement in run.trust],
        "seconds": run.seconds,
        "data": run.data_digest,
    }
