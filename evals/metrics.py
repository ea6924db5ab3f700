"""The numbers: ranking metrics, proportions with exact intervals, bootstrap intervals, paired tests. Knows no bot and no file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

SEED = 20240501
RESAMPLES = 2000
LEVEL = 0.95
Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval; `n` cases were measured. All three numbers are None when nothing was."""

    value: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """B minus A on the cases that both runs measured. `p` is two-sided; `test` names where it comes from."""

    a: float
    b: float
    change: float
    low: float
    high: float
    p: float
    n: int
    test: str


NOTHING = Estimate(None, None, None, 0)


def ndcg_at_k(ranking: Sequence[str], grades: Mapping[str, int], k: int) -> float:
    """Return nDCG@k: gains linear in the grade, discount 1/log2(rank + 1), ideal over all judged documents (as trec_eval)."""
    gains = [max(grades.get(name, 0), 0) / np.log2(rank + 1) for rank, name in enumerate(ranking[:k], start=1)]
    best = sorted((grade for grade in grades.values() if grade > 0), reverse=True)[:k]
    ideal = sum(grade / np.log2(rank + 1) for rank, grade in enumerate(best, start=1))
    return float(sum(gains) / ideal) if ideal else 0.0


def mrr_at_k(ranking: Sequence[str], grades: Mapping[str, int], k: int) -> float:
    """Return 1 / rank of the first relevant document among the first `k`, 0 if there is none."""
    return next((1.0 / rank for rank, name in enumerate(ranking[:k], start=1) if grades.get(name, 0) > 0), 0.0)


def recall_at_k(ranking: Sequence[str], grades: Mapping[str, int], k: int) -> float:
    """Return the share of all relevant documents that stand among the first `k`."""
    relevant = {name for name, grade in grades.items() if grade > 0}
    return len(relevant & set(ranking[:k])) / len(relevant) if relevant else 0.0


def proportion(hits: int, n: int) -> Estimate:
    """Return a share with its exact (Clopper-Pearson 1934) interval."""
    if not n:
        return NOTHING
    interval = binomtest(hits, n).proportion_ci(confidence_level=LEVEL, method="exact")
    return Estimate(hits / n, float(interval.low), float(interval.high), n)


def mean(values: Sequence[float]) -> Estimate:
    """Return a mean with its bootstrap percentile interval; the seed is fixed, so the same values give the same interval."""
    return _bootstrapped(values, lambda rows: rows.mean(axis=-1))


def quantile(values: Sequence[float], q: float) -> Estimate:
    """Return a quantile (0.95 for p95) with its bootstrap percentile interval."""
    return _bootstrapped(values, lambda rows: np.quantile(rows, q, axis=-1))


def risk_coverage_area(pairs: Sequence[tuple[float, bool]]) -> Estimate:
    """Return the area under the risk-coverage curve (Geifman 2017) of (confidence, is wrong) pairs; lower is better.

    The risk at coverage c is the share of wrong answers among the c most confident; ties count as their average. No interval.
    """
    if not pairs:
        return NOTHING
    risks = [risk for _, risk in risk_coverage_curve(pairs)]
    return Estimate(float(np.mean(risks)), None, None, len(pairs))


def risk_coverage_curve(pairs: Sequence[tuple[float, bool]]) -> list[tuple[float, float]]:
    """Return (coverage, risk) after each case, the most confident first."""
    share_wrong = {c: float(np.mean([wrong for other, wrong in pairs if other == c])) for c in {c for c, _ in pairs}}
    wrong = np.cumsum([share_wrong[c] for c in sorted((c for c, _ in pairs), reverse=True)])
    return [(n / len(pairs), float(total) / n) for n, total in enumerate(wrong, start=1)]


def cohen_kappa(a: Sequence[bool], b: Sequence[bool]) -> float:
    """Return how far two yes/no labellings agree beyond chance (Cohen 1960): 1 is full agreement, 0 is chance."""
    n = len(a)
    agreed = sum(x == y for x, y in zip(a, b, strict=True)) / n
    chance = (sum(a) * sum(b) + (n - sum(a)) * (n - sum(b))) / n**2
    return 1.0 if chance == 1 else (agreed - chance) / (1 - chance)


def mcnemar(a: Sequence[bool], b: Sequence[bool]) -> Difference:
    """Compare two runs on the same yes/no cases: exact McNemar test on the cases that flipped (McNemar 1947).

    The interval of the change is the bootstrap's over the pairs.
    """
    won = sum(y and not x for x, y in zip(a, b, strict=True))
    lost = sum(x and not y for x, y in zip(a, b, strict=True))
    p = float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
    paired = paired_bootstrap([float(x) for x in a], [float(y) for y in b])
    return Difference(paired.a, paired.b, paired.change, paired.low, paired.high, p, len(a), "McNemar exact")


def paired_bootstrap(a: Sequence[float], b: Sequence[float]) -> Difference:
    """Compare two runs on the same graded cases: bootstrap over the pairs' differences, seed fixed."""
    change = np.asarray(b, dtype=np.float64) - np.asarray(a, dtype=np.float64)
    means = change[_resamples(len(change))].mean(axis=-1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    # +1: a resampled p is never 0. Where nothing differs, both tails are whole and p is 1.
    tail = min(int((means <= 0).sum()), int((means >= 0).sum()))
    p = min(1.0, 2 * (tail + 1) / (RESAMPLES + 1))
    return Difference(
        float(np.mean(a)), float(np.mean(b)), float(change.mean()), float(low), float(high), p, len(change), "paired bootstrap"
    )


def _bootstrapped(values: Sequence[float], statistic: Callable[[Floats], Floats]) -> Estimate:
    if not len(values):
        return NOTHING
    rows = np.asarray(values, dtype=np.float64)
    low, high = np.quantile(statistic(rows[_resamples(len(rows))]), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(statistic(rows)), float(low), float(high), len(rows))


def _resamples(n: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.random.default_rng(SEED).integers(0, n, size=(RESAMPLES, n))
