"""Measures the guardrail: the level it gives a message, or a conversation after each user turn, beside the expected one.

Rivals: always escalate, never escalate, the plain rules alone, and the ways of `evals/rivals.py`.
"""

from dataclasses import replace

from bot.guardrail import check
from bot.guardrail.matcher import find_flags
from bot.settings import Settings
from evals.case import Case, read_conversations, read_guardrail
from evals.measure import Measure, Observed, Opened, Scored
from evals.progress import Tick
from evals.rivals import keyword_list, nearest_messages, tfidf_regression
from evals.suite import Suite
from kb.red_flags import LEVELS

METRICS = (
    "sensitivity",
    "specificity",
    "level_accuracy",
    "under_triage",
    "over_triage",
    "emergency_below_urgent",
    "code_accuracy",
    "guardrail_failed",
)
FAILED_LEVEL = "see_doctor"
"""What the person is told when the guardrail breaks; see `bot.chain.Chain.finish`."""


def observe(case: Case) -> Observed:
    """Return the level in force after the last message of the case, with its flags."""
    # Through its module, so that a test which takes the guardrail away takes it away here too.
    verdict = check.check_message(case.messages)
    return {
        "level": FAILED_LEVEL if verdict.failed and verdict.level == "none" else verdict.level,
        "codes": [flag.code for flag in verdict.flags],
        "evidence": [flag.evidence for flag in verdict.flags],
        "failed": verdict.failed,
    }


def always(case: Case) -> Observed:
    """Escalate whatever is said."""
    return {"level": "emergency", "codes": [], "evidence": [], "failed": False}


def never(case: Case) -> Observed:
    """Say nothing, ever."""
    return {"level": "none", "codes": [], "evidence": [], "failed": False}


def rules_only(case: Case) -> Observed:
    """Apply the plain rules to each user message; what they find stays in force."""
    found = [finding for message in case.messages if message.role == "user" for finding in find_flags(message.content)]
    level = max((finding.level for finding in found), key=LEVELS.index, default="none")
    return {"level": level, "codes": [f.code for f in found], "evidence": [f.evidence for f in found], "failed": False}


def score(case: Case, observed: Observed) -> Scored:
    """Compare a level with the expected one; a level in `accept` is as good.

    A red flag is missed when the level is none and none is not acceptable; it is under-triaged when the level is below all acceptable ones.
    """
    expect, level = case.expected["level"], observed["level"]
    if level is None:
        return Scored(dict.fromkeys(METRICS), True, "the system names no level")
    acceptable = {expect, *case.expected["accept"]}
    ranks = sorted(LEVELS.index(name) for name in acceptable)
    rank = LEVELS.index(level)
    is_flag = expect != "none"
    right = level in acceptable
    caught = is_flag and level != "none"
    wanted = set(case.expected["codes"])
    scores = {
        "sensitivity": (caught or right) if is_flag else None,
        "specificity": None if is_flag else right or level == "none",
        "level_accuracy": right,
        "under_triage": rank < ranks[0] if is_flag else None,
        "over_triage": rank > ranks[-1],
        "emergency_below_urgent": (rank < LEVELS.index("urgent") and not right) if expect == "emergency" else None,
        "code_accuracy": bool(wanted & set(observed["codes"])) if caught and wanted else None,
        "guardrail_failed": observed["failed"],
    }
    codes = f" ({', '.join(observed['codes'])})" if observed["codes"] else ""
    return Scored(scores, right, f"{level}{codes}", "" if right else _why(is_flag, rank, ranks, observed))


def _why(is_flag: bool, rank: int, ranks: list[int], observed: Observed) -> str:
    if observed["failed"]:
        return "the guardrail broke"
    if is_flag and rank == 0:
        return "missed: a red flag, and no advice"
    if is_flag and rank < ranks[0]:
        return "under-triaged: the advice is less urgent than it should be"
    words = f"; because of: {observed['evidence'][0]}" if observed["evidence"] else ""
    return f"{'over-triaged' if is_flag else 'false alarm'}{words}"


def hold_conversations(cases: list[Case], scored: list[Scored]) -> list[Scored]:
    """Add to the last turn of each conversation whether every turn of it was right."""
    last = {case.tags["conversation"][0]: i for i, case in enumerate(cases)}
    right: dict[str, bool] = {}
    for case, row in zip(cases, scored, strict=True):
        name = case.tags["conversation"][0]
        right[name] = right.get(name, True) and row.passed
    return [
        replace(row, scores=row.scores | {"conversation_held": right[name] if last[name] == i else None})
        for i, (row, name) in enumerate(zip(scored, (case.tags["conversation"][0] for case in cases), strict=True))
    ]


def open_guardrail(settings: Settings, suite: Suite, tick: Tick | None) -> Opened:
    """Return how the guardrail is observed, and its rivals."""
    return Opened(
        observe,
        {"always escalate": always, "never escalate": never, "plain rules only": rules_only, "keyword list": keyword_list},
        baselines={
            "nearest message": lambda: nearest_messages(settings),
            "TF-IDF and regression": lambda: tfidf_regression(settings),
        },
    )


GUARDRAIL = Measure("guardrail", METRICS, lambda suite: read_guardrail(suite.data)[:: suite.every], open_guardrail, score)
CONVERSATIONS = Measure(
    "guardrail",
    (*METRICS, "conversation_held"),
    lambda suite: read_conversations(suite.data),
    open_guardrail,
    score,
    finish=hold_conversations,
)
