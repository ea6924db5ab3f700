"""Scores groundedness: does each sentence of an answer stand on something that was retrieved, whether it is cited or not?

A sentence that shares most of its words with a retrieved one but differs from it in a number or a denial is in conflict with it; one that
shares too few has no base. The two harm in different ways, so they are counted apart (RAGTruth, arXiv 2401.00396).
"""

from bot.retrieve import words
from bot.support import COVERAGE, best_support
from evals.case import Case, read_questions
from evals.measure import Measure, Observed, Scored
from evals.replies import open_replies
from evals.reply_text import claims_of, is_answered, sentences_of

METRICS = ("grounded_sentences", "ungrounded_answer", "conflict", "baseless")


def score(case: Case, observed: Observed) -> Scored:
    """Score an answer against all that its system retrieved or cites; not measured where the system does not show that."""
    reply = observed["reply"]
    retrieved = [text for texts in (observed["passages"], observed.get("retrieved")) for text in (texts or {}).values() if text]
    got = f"{reply['outcome']}: {reply['text']}"
    claims = [claim.text for claim in claims_of(reply)] if is_answered(reply) and retrieved else []
    if not claims:
        return Scored(dict.fromkeys(METRICS), True, got)
    passages = [sentences_of(text) for text in retrieved]
    loose = [claim for claim in claims if not any(_holds(passage, claim) for passage in passages)]
    against = [claim for claim in loose if any(_shares_words(sentence, claim) for passage in passages for sentence in passage)]
    scores = {
        "grounded_sentences": 1 - len(loose) / len(claims),
        "ungrounded_answer": bool(loose),
        "conflict": bool(against),
        "baseless": len(loose) > len(against),
    }
    why = [f"{'differs from what was retrieved' if claim in against else 'nothing retrieved says'}: {claim}" for claim in loose]
    return Scored(scores, not loose, got, "; ".join(why))


def _holds(passage: list[str], claim: str) -> bool:
    bare = claim.strip(" .*")
    return any(bare in sentence for sentence in passage) or best_support(claim, passage) is not None


def _shares_words(sentence: str, claim: str) -> bool:
    asked = set(words(claim))
    return bool(asked) and len(asked & set(words(sentence))) / len(asked) >= COVERAGE


GROUNDEDNESS = Measure("replies", METRICS, lambda suite: read_questions(suite.data), open_replies, score)
