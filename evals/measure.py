"""What a kind of suite is made of: how its cases are read, what is observed of the bot, and how an observation is scored."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bot.settings import Settings
from evals.case import Case
from evals.metrics import Estimate
from evals.progress import Tick
from evals.suite import Suite

Observed = dict[str, Any]
"""What the bot did with a case, as plain JSON: it is stored, and scored as often as wanted without running the bot again."""
Observe = Callable[[Case], Observed]


@dataclass(frozen=True)
class Scored:
    """The judgement on one case. `scores` feeds the metrics (None: does not apply); `why` says why it failed, for a reader."""

    scores: dict[str, Any]
    passed: bool
    got: str
    why: str = ""


@dataclass(frozen=True)
class Opened:
    """The bot, ready to be observed, and its rivals: trivial or cut-down systems that see the same cases.

    `baselines` are rivals that must first learn or index something; each is opened only when it is asked for.

    `identity` names the state of what is observed; stored observations of another identity are not taken over.
    """

    observe: Observe
    rivals: Mapping[str, Observe] = field(default_factory=dict)
    identity: str = ""
    baselines: Mapping[str, Callable[[], Observe]] = field(default_factory=dict)


@dataclass(frozen=True)
class Agreement:
    """How well a way of deciding whether a fact is stated agrees with labelled pairs, on those that were not used to build it."""

    by: str
    pairs: int
    precision: Estimate
    recall: Estimate
    kappa: float
    right_by_kind: dict[str, Estimate]


@dataclass(frozen=True)
class Measure:
    """One kind of suite. Kinds with the same `observer` share what was observed; `parallel` is off where time is measured.

    `trust` measures the scoring itself, where it could be wrong: it returns how well it agrees with labels made by hand.
    """

    observer: str
    metrics: tuple[str, ...]
    read: Callable[[Suite], list[Case]]
    open: Callable[[Settings, Suite, Tick | None], Opened]
    score: Callable[[Case, Observed], Scored]
    finish: Callable[[list[Case], list[Scored]], list[Scored]] | None = None
    parallel: bool = True
    trust: Callable[[], "Agreement"] | None = None
