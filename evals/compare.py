"""Compares two sets of scores of the same cases: what flipped, and whether a difference is more than chance."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.catalog import METRICS
from evals.metrics import Difference, mcnemar, paired_bootstrap
from evals.run import read_results
from ingest.cli import BadInput

Scores = Mapping[str, Mapping[str, Any]]
"""Case id to its scores."""


@dataclass(frozen=True)
class Flip:
    """A case whose verdict changed between run A and run B."""

    id: str
    won: bool
    before: str
    after: str


@dataclass(frozen=True)
class SuiteComparison:
    """One suite in two runs; the ids that only one of them holds are left out of the differences."""

    suite: str
    flips: list[Flip]
    differences: dict[str, Difference]
    only_a: list[str]
    only_b: list[str]


def difference(metric: str, a: Scores, b: Scores) -> Difference | None:
    """Test a metric's change over the cases that both measured; None where there is none, or no paired test fits (quantiles, areas)."""
    entry = METRICS[metric]
    pairs = [(a[i].get(entry.score), b[i].get(entry.score)) for i in a if i in b]
    measured = [(x, y) for x, y in pairs if x is not None and y is not None]
    if not measured or entry.how not in ("share", "mean"):
        return None
    left, right = zip(*measured, strict=True)
    return mcnemar(left, right) if entry.how == "share" else paired_bootstrap(left, right)


def compare_runs(a: Path, b: Path) -> list[SuiteComparison]:
    """Compare two finished runs, suite by suite.

    Raises:
        BadInput: one of them is no finished run, or they have no suite in common.
    """
    left, right = read_results(a), read_results(b)
    common = [suite for suite in left if suite in right]
    if not common:
        raise BadInput(f"{a} and {b}: no suite in common ({', '.join(left)}; {', '.join(right)})")
    return [_compare_suite(suite, left[suite], right[suite]) for suite in common]


def _compare_suite(suite: str, a: dict[str, dict[str, Any]], b: dict[str, dict[str, Any]]) -> SuiteComparison:
    flips = [Flip(i, b[i]["passed"], a[i]["got"], b[i]["got"]) for i in a if i in b and a[i]["passed"] != b[i]["passed"]]
    scores_a = {i: row["scores"] for i, row in a.items()}
    scores_b = {i: row["scores"] for i, row in b.items()}
    differences = {name: found for name in METRICS if (found := difference(name, scores_a, scores_b))}
    flips.sort(key=lambda flip: (flip.won, flip.id))
    return SuiteComparison(suite, flips, differences, [i for i in a if i not in b], [i for i in b if i not in a])
