"""Scores the content of answers: the facts that they must and must not hold, the article they rest on, and how hard they read.

Whether a fact is stated is decided by `evals/facts.py`, and how far that can be trusted is printed beside every score (`evals/validate.py`).
"""

from typing import Any

import textstat

from evals.case import Case, read_questions
from evals.facts import open_matcher
from evals.measure import Measure, Observed, Scored
from evals.replies import open_replies
from evals.reply_text import claims_of, is_answered, plain_of
from evals.suite import Suite
from evals.validate import matcher_agreement
from ingest.cli import BadInput

HARD_TO_READ = 9.0


def score_answer(case: Case, observed: Observed) -> Scored:
    """Score the answer to an answerable question; an answer that was not given holds no fact."""
    reply = observed["reply"]
    answered = is_answered(reply)
    sentences = [claim.text for claim in claims_of(reply)] if answered else []
    facts, banned = case.expected["key_facts"], case.expected["must_not"]
    states = open_matcher().states
    missing = [fact for fact in facts if not states(fact, sentences)]
    hits = [fact for fact in banned if states(fact, sentences)]
    right = _cites_right(case, reply)
    scores = {
        "key_fact_recall": 1 - len(missing) / len(facts) if facts else None,
        "must_not_hit": bool(hits) if banned else None,
        "right_article": right if answered else None,
        "answered": answered,
    }
    why = [f"not answered ({reply['outcome']})"] if not answered else []
    why += [f"states what it must not: {hit}" for hit in hits]
    why += [f"lacks: {fact}" for fact in missing] if answered else []
    why += [f"does not cite {case.expected['article']}"] if answered and right is False else []
    passed = answered and right is not False and not hits and len(missing) * 2 <= len(facts)
    return Scored(scores, passed, _shown(reply), "" if passed else "; ".join(why))


def _cites_right(case: Case, reply: dict[str, Any]) -> bool | None:
    """Say whether a labelled article is cited; None where the system gives no citations at all."""
    if reply["citations"] is None:
        return None
    return bool({citation["article_id"] for citation in reply["citations"]} & {case.expected["article"], *case.expected["also"]})


def score_readability(case: Case, observed: Observed) -> Scored:
    """Score how an answer reads."""
    reply = observed["reply"]
    text = plain_of(reply) if is_answered(reply) else ""
    if not text:
        return Scored({"reading_grade": None, "grade_above_9": None, "words": None}, True, _shown(reply))
    grade = float(textstat.flesch_kincaid_grade(text))
    hard = grade > HARD_TO_READ
    scores = {"reading_grade": grade, "grade_above_9": hard, "words": len(text.split())}
    return Scored(scores, not hard, _shown(reply), f"reads at school grade {grade:.1f}" if hard else "")


def read_answerable(suite: Suite) -> list[Case]:
    """Read the answerable questions.

    Raises:
        BadInput: there is none.
    """
    cases = [case for case in read_questions(suite.data) if case.expected["kind"] == "answerable"]
    if not cases:
        raise BadInput(f"{suite.data[0]}: no answerable question")
    return cases


def _shown(reply: dict[str, str]) -> str:
    return f"{reply['outcome']}: {reply['text']}"


ANSWERS = Measure(
    "replies",
    ("key_fact_recall", "must_not_hit", "right_article", "answered"),
    read_answerable,
    open_replies,
    score_answer,
    trust=matcher_agreement,
)
READABILITY = Measure("replies", ("reading_grade", "grade_above_9", "words"), read_answerable, open_replies, score_readability)
