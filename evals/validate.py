"""Holds a way of deciding whether an answer states a fact against pairs labelled by hand: `data/key-facts.jsonl`.

One half was for building the matcher; what is reported comes from the other, held-out half.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from evals.case import read_rows
from evals.facts import open_matcher
from evals.measure import Agreement
from evals.metrics import cohen_kappa, proportion
from evals.reply_text import sentences_of

PAIRS = Path(__file__).parent / "data" / "key-facts.jsonl"
Decide = Callable[[str, str], bool | None]
"""Answer and fact to whether the answer states it; None: no verdict could be had."""


class Pair(BaseModel):
    """An answer, a fact, and whether a reader of the answer alone would say that it states the fact."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    split: Literal["dev", "held-out"]
    answer: str = Field(min_length=1)
    fact: str = Field(min_length=1)
    present: bool
    kind: Literal["close", "paraphrase", "absent", "number", "negation", "opposite", "subject", "hedge"]
    source: str


def read_pairs(split: str | None = None, path: Path = PAIRS) -> list[Pair]:
    """Read the labelled pairs, or those of one half.

    Raises:
        BadInput: a line is malformed.
    """
    return [pair for pair in read_rows(path, Pair) if split in (None, pair.split)]


def agreement(by: str, pairs: Sequence[Pair], decide: Decide) -> Agreement:
    """Measure one way of deciding; pairs without a verdict are left out, and `pairs` says how many were counted."""
    verdicts = [(pair, decide(pair.answer, pair.fact)) for pair in pairs]
    judged = [(pair, verdict) for pair, verdict in verdicts if verdict is not None]
    hits = sum(pair.present and verdict for pair, verdict in judged)
    kinds: dict[str, list[bool]] = {}
    for pair, verdict in judged:
        kinds.setdefault(pair.kind, []).append(pair.present == verdict)
    return Agreement(
        by=by,
        pairs=len(judged),
        precision=proportion(hits, sum(verdict for _, verdict in judged)),
        recall=proportion(hits, sum(pair.present for pair, _ in judged)),
        kappa=cohen_kappa([pair.present for pair, _ in judged], [verdict for _, verdict in judged]) if judged else 0.0,
        right_by_kind={kind: proportion(sum(right), len(right)) for kind, right in sorted(kinds.items())},
    )


def match(answer: str, fact: str) -> bool:
    """Decide as the answers suite does."""
    return open_matcher().states(fact, sentences_of(answer))


@lru_cache(maxsize=1)
def matcher_agreement() -> Agreement:
    """Measure the matcher on the held-out half, once a process."""
    return agreement("the matcher of evals/facts.py", read_pairs("held-out"), match)
