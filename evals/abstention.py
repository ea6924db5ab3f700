"""Scores whether the bot answers what it can and leaves what it cannot; judged by the reply's outcome, never by its wording."""

from evals.case import Case, read_questions
from evals.measure import Measure, Observed, Scored
from evals.replies import open_replies
from evals.reply_text import UNKNOWN, is_answered

METRICS = (
    "abstention_recall",
    "abstention_precision",
    "answered_when_unanswerable",
    "abstained_when_answerable",
    "out_of_scope_declined",
    "risk_coverage_area",
)


def score(case: Case, observed: Observed) -> Scored:
    """Score one reply; an answer to an answerable question is right when it cites the labelled article."""
    reply, kind = observed["reply"], case.expected["kind"]
    if reply["outcome"] == UNKNOWN:
        return Scored({}, True, f"the system does not say whether this is an answer: {reply['text']}")
    answered = is_answered(reply)
    can = kind == "answerable"
    wrong = not (can and case.expected["article"] in {citation["article_id"] for citation in reply["citations"] or []})
    # Another subject is turned away before anything is retrieved, so how sure retrieval would be says nothing there.
    counts = observed["confidence"] is not None and kind != "out_of_scope"
    scores = {
        "abstention_recall": None if can else not answered,
        "abstention_precision": None if answered else not can,
        "answered_when_unanswerable": answered if kind == "unanswerable" else None,
        "abstained_when_answerable": not answered if can else None,
        "out_of_scope_declined": not answered if kind == "out_of_scope" else None,
        "risk": [observed["confidence"], wrong] if counts else None,
    }
    passed = answered == can
    why = "" if passed else f"{kind}, but {'answered' if answered else 'not answered'}"
    return Scored(scores, passed, f"{reply['outcome']}: {reply['text']}", why)


ABSTENTION = Measure("replies", METRICS, lambda suite: read_questions(suite.data), open_replies, score)
