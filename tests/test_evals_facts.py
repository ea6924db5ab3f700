"""Key facts: what counts as stated, and how far the matcher agrees with pairs labelled by hand that it was not built on."""

import json

import pytest
from sklearn.metrics import cohen_kappa_score

from evals.facts import open_matcher
from evals.metrics import cohen_kappa
from evals.validate import PAIRS, agreement, matcher_agreement, read_pairs
from ingest.cli import BadInput

GEL = "With diclofenac gel, up to 95% less of the drug gets into the body than with a tablet."
WAIT = "Most people with a new bout of low back pain feel clearly better within six weeks."


@pytest.mark.model
@pytest.mark.parametrize(
    ("fact", "sentence", "stated"),
    [
        pytest.param("Far less of the medicine is absorbed from the gel than from pills", GEL, True, id="lay words"),
        pytest.param("With diclofenac gel up to 59% less of the drug gets into the body than with a tablet", GEL, False, id="number"),
        pytest.param(
            "Bed rest is slightly better than staying active", "Staying active is slightly better than bed rest.", False, id="turned"
        ),
        pytest.param("New back pain usually improves within about a month and a half", WAIT, True, id="lay time"),
        pytest.param("Most people feel clearly better within 42 days", WAIT, True, id="six weeks are 42 days"),
        pytest.param("Most people feel clearly better within sixteen weeks", WAIT, False, id="other weeks"),
        pytest.param("Everyone feels better within six weeks", WAIT, False, id="bolder"),
        pytest.param("One in five still hurts after a year", "About 20 in 100 people still have pain a year later.", True, id="share"),
        pytest.param("Do not run with a stress fracture", "Keep running with a stress fracture.", False, id="denial"),
        pytest.param("Antibiotics are given for six weeks", WAIT, False, id="another matter"),
    ],
)
def test_a_fact_is_stated_or_not(fact, sentence, stated):
    assert open_matcher().states(fact, [sentence]) is stated


@pytest.mark.model
def test_no_sentence_states_nothing():
    assert not open_matcher().states("Heat helps", [])


def test_the_labelled_pairs_are_enough_and_their_halves_apart():
    dev, held_out = read_pairs("dev"), read_pairs("held-out")
    assert len(dev) + len(held_out) >= 320 and min(len(dev), len(held_out)) >= 150
    assert not {pair.answer for pair in dev} & {pair.answer for pair in held_out}
    assert len({pair.id for pair in dev + held_out}) == len(dev + held_out)
    for half in (dev, held_out):
        assert 0.4 <= sum(pair.present for pair in half) / len(half) <= 0.6
        assert {pair.kind for pair in half} == {"close", "paraphrase", "absent", "number", "negation", "opposite", "subject", "hedge"}


@pytest.mark.model
def test_the_matcher_agrees_with_the_held_out_labels():
    found = matcher_agreement()
    assert found.pairs == len(read_pairs("held-out"))
    # Measured when it was built: precision 0.84, recall 0.56, kappa 0.47. Less means that something broke.
    assert found.precision.value >= 0.80 and found.recall.value >= 0.52 and found.kappa >= 0.42


def test_agreement_by_hand():
    pairs = read_pairs("dev")[:4]
    verdicts = {pairs[0].fact: pairs[0].present, pairs[1].fact: not pairs[1].present, pairs[2].fact: None, pairs[3].fact: pairs[3].present}
    found = agreement("a test", pairs, lambda answer, fact: verdicts[fact])
    # The one without a verdict is not counted; two of the other three are right.
    assert found.pairs == 3 and sum(kind.value * kind.n for kind in found.right_by_kind.values()) == 2


def test_kappa_equals_scikit_learn():
    a, b = [True] * 6 + [False] * 4, [True] * 4 + [False] * 3 + [True] * 2 + [False]
    assert cohen_kappa(a, b) == pytest.approx(cohen_kappa_score(a, b))
    assert cohen_kappa([True], [True]) == 1.0


def test_a_bad_pair_is_named(tmp_path):
    rows = [json.loads(line) for line in PAIRS.read_text(encoding="utf-8").splitlines()[:2]]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in [rows[0], rows[1] | {"kind": "odd"}]), encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        read_pairs(path=path)
    assert str(caught.value).startswith(f"{path}:2: kind")
