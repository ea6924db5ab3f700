"""Scores citations as ALCE does (arXiv 2305.14627), without a model: does what is cited support the sentence, and is each mark needed?

Other than in ALCE's own code, a mark that leads nowhere counts as a wrong citation; it is not left out of the precision.
"""

from typing import Any

from bot.support import best_support
from evals.case import Case, read_questions
from evals.measure import Measure, Observed, Scored
from evals.replies import open_replies
from evals.reply_text import Claim, claims_of, is_answered

NONE = {"citation_recall": None, "citation_precision": None, "invalid_citation": None, "uncited_sentence": None}


def score(case: Case, observed: Observed) -> Scored:
    """Score the citations of an answer; a reply that is no answer has none to score."""
    reply = observed["reply"]
    got = f"{reply['outcome']}: {reply['text']}"
    claims = claims_of(reply) if is_answered(reply) and reply["citations"] is not None else []
    if not claims:
        return Scored(dict(NONE), True, got)
    quotes, why = _quotes(reply, observed["passages"] or {}, from_afar=observed["passages"] is None)
    supported = [bool(claim.marks) and _supports([quotes[n] for n in claim.marks if n in quotes], claim.text) for claim in claims]
    useful = [_useful(claim, n, quotes) for claim in claims for n in dict.fromkeys(claim.marks)]
    lost = sorted({n for claim in claims for n in claim.marks} - {c["n"] for c in reply["citations"]})
    why += [f"mark [{n}] leads to no citation" for n in lost]
    bare = [claim.text for claim in claims if not claim.marks]
    scores: dict[str, Any] = {
        "citation_recall": sum(supported) / len(claims),
        "citation_precision": sum(useful) / len(useful) if useful else None,
        "invalid_citation": bool(why),
        "uncited_sentence": bool(bare),
    }
    why += [f"no mark on: {text}" for text in bare]
    why += [f"its citation does not support: {claim.text}" for claim, ok in zip(claims, supported, strict=True) if claim.marks and not ok]
    return Scored(scores, not why, got, "; ".join(why))


def _quotes(reply: dict[str, Any], passages: dict[str, str | None], *, from_afar: bool) -> tuple[dict[int, str], list[str]]:
    """Return the quotes that stand in their passages, by number, and what is wrong with the others.

    A system behind a URL does not show its passages; there each quote is taken as it is given.
    """
    good: dict[int, str] = {}
    wrong = []
    for citation in reply["citations"]:
        passage = passages.get(citation["chunk_id"], citation["quote"]) if from_afar else passages.get(citation["chunk_id"])
        if passage is None:
            wrong.append(f"citation [{citation['n']}] names no passage: {citation['chunk_id']}")
        elif not citation["quote"] or citation["quote"] not in passage:
            wrong.append(f"the quote of citation [{citation['n']}] is not in its passage")
        else:
            good[citation["n"]] = citation["quote"]
    return good, wrong


def _supports(quotes: list[str], sentence: str) -> bool:
    bare = sentence.strip(" .*")
    return bool(quotes) and (any(bare in quote for quote in quotes) or best_support(sentence, quotes) is not None)


def _useful(claim: Claim, n: int, quotes: dict[int, str]) -> bool:
    """Say whether a mark counts: its sentence is supported, and by this one alone or not without it."""
    if n not in quotes:
        return False
    all_of_it = [quotes[m] for m in claim.marks if m in quotes]
    rest = [quotes[m] for m in claim.marks if m in quotes and m != n]
    return _supports(all_of_it, claim.text) and (_supports([quotes[n]], claim.text) or not _supports(rest, claim.text))


CITATIONS = Measure("replies", tuple(NONE), lambda suite: read_questions(suite.data), open_replies, score)
