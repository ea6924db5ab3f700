"""The numbers are right: worked by hand, and equal to ir-measures."""

import random

import ir_measures
import pytest
from ir_measures import RR, R, ScoredDoc, nDCG

from evals.catalog import METRICS, estimate
from evals.metrics import (
    mcnemar,
    mean,
    mrr_at_k,
    ndcg_at_k,
    paired_bootstrap,
    proportion,
    quantile,
    recall_at_k,
    risk_coverage_area,
    risk_coverage_curve,
)

GRADES = {"a": 2, "b": 1, "c": 0}


@pytest.mark.parametrize(
    ("ranking", "ndcg", "mrr", "recall"),
    [
        # Ideal: 2/log2(2) + 1/log2(3) = 2.63093.
        pytest.param(["a", "b"], 1.0, 1.0, 1.0, id="ideal"),
        # 1/1 + 2/log2(3) = 2.26186; / 2.63093 = 0.85972.
        pytest.param(["b", "a"], 0.85972, 1.0, 1.0, id="swapped"),
        # 2/log2(3) = 1.26186; / 2.63093 = 0.47963. One of two relevant found, at rank 2.
        pytest.param(["c", "a"], 0.47963, 0.5, 0.5, id="one found, second"),
        # b at rank 4 is beyond k = 3.
        pytest.param(["x", "y", "z", "b"], 0.0, 0.0, 0.0, id="beyond k"),
        pytest.param([], 0.0, 0.0, 0.0, id="nothing found"),
    ],
)
def test_ranking_metrics_by_hand(ranking, ndcg, mrr, recall):
    assert ndcg_at_k(ranking, GRADES, 3) == pytest.approx(ndcg, abs=1e-5)
    assert mrr_at_k(ranking, GRADES, 3) == pytest.approx(mrr)
    assert recall_at_k(ranking, GRADES, 3) == pytest.approx(recall)


def test_ranking_metrics_equal_ir_measures():
    dice = random.Random(7)
    names = [f"d{i}" for i in range(40)]
    for _ in range(60):
        grades = {name: dice.choice([0, 1, 2, 3]) for name in dice.sample(names, 8)} | {"d0": 1}
        ranking = dice.sample(names, 25)
        run = [ScoredDoc("q", name, float(-rank)) for rank, name in enumerate(ranking)]
        qrels = [ir_measures.Qrel("q", name, grade) for name, grade in grades.items()]
        theirs = ir_measures.calc_aggregate([nDCG @ 10, RR @ 10, R @ 1, R @ 5, R @ 10], qrels, run)
        assert ndcg_at_k(ranking, grades, 10) == pytest.approx(theirs[nDCG @ 10])
        assert mrr_at_k(ranking, grades, 10) == pytest.approx(theirs[RR @ 10])
        for k in (1, 5, 10):
            assert recall_at_k(ranking, grades, k) == pytest.approx(theirs[R @ k])


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        # No miss in n: the two-sided exact lower bound is 0.025 ** (1 / n).
        pytest.param(100, 100, 0.025 ** (1 / 100), 1.0, id="no miss of 100"),
        pytest.param(0, 10, 0.0, 1 - 0.025 ** (1 / 10), id="none of 10"),
        # Clopper and Pearson, as in R: binom.test(8, 10).
        pytest.param(8, 10, 0.4439045, 0.9747893, id="8 of 10"),
    ],
)
def test_exact_interval(hits, n, low, high):
    found = proportion(hits, n)
    assert (found.value, found.low, found.high) == pytest.approx((hits / n, low, high), abs=1e-6)


def test_nothing_measured_is_no_number():
    for found in (
        proportion(0, 0),
        mean([]),
        quantile([], 0.5),
        risk_coverage_area([]),
        estimate("sensitivity", [{"sensitivity": None}, {}]),
    ):
        assert (found.value, found.low, found.high, found.n) == (None, None, None, 0)


def test_bootstrap_is_the_same_each_time_and_holds_the_mean():
    values = [random.Random(3).random() for _ in range(50)]
    assert mean(values) == mean(values)
    assert mean(values).low <= mean(values).value <= mean(values).high
    assert mean([0.5, 0.5, 0.5]).low == mean([0.5, 0.5, 0.5]).high == 0.5


def test_mcnemar_counts_flips_only():
    # 5 lost and 0 won: p = 2 / 2**5 = 0.0625; 6 and 0: 2 / 2**6 = 0.03125.
    assert mcnemar([True] * 5 + [True] * 50, [False] * 5 + [True] * 50).p == pytest.approx(0.0625)
    assert mcnemar([True] * 6, [False] * 6).p == pytest.approx(0.03125)
    assert mcnemar([True, False], [True, False]).p == 1.0


def test_paired_bootstrap_sees_a_steady_gain_and_no_change():
    a = [random.Random(1).random() for _ in range(30)]
    gain = paired_bootstrap(a, [x + 0.1 for x in a])
    assert gain.change == pytest.approx(0.1) and gain.low > 0 and gain.p < 0.01
    assert paired_bootstrap(a, a).p == 1.0


def test_risk_coverage_by_hand():
    # Most confident first: right, wrong, right -> risks 0, 1/2, 1/3.
    pairs = [(0.9, False), (0.5, True), (0.1, False)]
    assert [x for point in risk_coverage_curve(pairs) for x in point] == pytest.approx([1 / 3, 0, 2 / 3, 1 / 2, 1, 1 / 3])
    assert risk_coverage_area(pairs).value == pytest.approx((0 + 1 / 2 + 1 / 3) / 3)
    # Ties count as their average, so that the order of the data cannot move the number.
    assert risk_coverage_area([(0.5, True), (0.5, False)]).value == risk_coverage_area([(0.5, False), (0.5, True)]).value


def test_every_metric_says_what_it_is():
    for name, metric in METRICS.items():
        assert metric.says.endswith("."), name
