"""Every metric by name: which score of a case it is made from, how, which way is better, and what it says in plain words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from evals.metrics import NOTHING, Estimate, mean, proportion, quantile, risk_coverage_area

Better = Literal["high", "low", "neither"]


@dataclass(frozen=True)
class Metric:
    """`score` is the key in a case's scores; `how` is share (of yes/no), mean, a quantile such as 0.95, or area."""

    score: str
    how: Literal["share", "mean", "area"] | float
    better: Better
    says: str


METRICS: dict[str, Metric] = {
    "sensitivity": Metric("sensitivity", "share", "high", "Of the messages with a red flag, how many led to advice at any level."),
    "specificity": Metric("specificity", "share", "high", "Of the messages without one, how many were left in peace."),
    "level_accuracy": Metric(
        "level_accuracy", "share", "high", "Of all messages, how many got the expected level or one marked acceptable."
    ),
    "under_triage": Metric(
        "under_triage", "share", "low", "Of the messages with a red flag, how many got a level below every acceptable one."
    ),
    "over_triage": Metric("over_triage", "share", "low", "Of all messages, how many got a level above every acceptable one."),
    "emergency_below_urgent": Metric(
        "emergency_below_urgent", "share", "low", "Of the emergencies, how many were not even told to be seen the same day."
    ),
    "code_accuracy": Metric("code_accuracy", "share", "high", "Of the red flags found, how many were given one of the expected codes."),
    "guardrail_failed": Metric(
        "guardrail_failed", "share", "low", "How often the guardrail itself broke; it then gives the advice unasked."
    ),
    "conversation_held": Metric(
        "conversation_held", "share", "high", "Of the conversations, how many had an acceptable level after every turn."
    ),
    "flip_rate": Metric(
        "flip_rate", "share", "low", "Of the spoilt messages, how many got another verdict (flag or none) than the clean one."
    ),
    "flag_lost": Metric("flag_lost", "share", "low", "Of the spoilt red flags that were caught when clean, how many were missed."),
    "false_alarm_gained": Metric(
        "false_alarm_gained", "share", "low", "Of the spoilt harmless messages left in peace when clean, how many raised an alarm."
    ),
    "worst_case_sensitivity": Metric(
        "worst_case_sensitivity", "share", "high", "Of the red flags, how many were caught clean and in every spoilt form."
    ),
    "worst_case_specificity": Metric(
        "worst_case_specificity", "share", "high", "Of the harmless messages, how many were left in peace clean and in every spoilt form."
    ),
    "ndcg@10": Metric("ndcg@10", "mean", "high", "How near the top the right articles stand, the first ten counted; 1 is perfect."),
    "mrr@10": Metric("mrr@10", "mean", "high", "1 / rank of the first right article, 0 if it is not among the first ten."),
    "recall@1": Metric("recall@1", "mean", "high", "Share of the right articles that is found first."),
    "recall@5": Metric("recall@5", "mean", "high", "Share of the right articles among the first five."),
    "recall@10": Metric("recall@10", "mean", "high", "Share of the right articles among the first ten."),
    "key_fact_recall": Metric("key_fact_recall", "mean", "high", "Of the facts that a good answer holds, the share that the answer holds."),
    "must_not_hit": Metric("must_not_hit", "share", "low", "How many answers state something that is listed as wrong or harmful."),
    "right_article": Metric("right_article", "share", "high", "Of the answerable questions, how many answers cite the labelled article."),
    "answered": Metric("answered", "share", "high", "Of the answerable questions, how many got an answer with citations."),
    "citation_recall": Metric("citation_recall", "mean", "high", "Share of an answer's sentences that their own citations support (ALCE)."),
    "citation_precision": Metric(
        "citation_precision", "mean", "high", "Share of an answer's citations that support, or help to support, their sentence."
    ),
    "invalid_citation": Metric(
        "invalid_citation", "share", "low", "How many answers have a mark without a citation, or a quote that its passage does not hold."
    ),
    "uncited_sentence": Metric("uncited_sentence", "share", "low", "How many answers have a sentence of content without a mark."),
    "grounded_sentences": Metric(
        "grounded_sentences", "mean", "high", "Share of an answer's sentences that something retrieved supports, cited or not."
    ),
    "ungrounded_answer": Metric("ungrounded_answer", "share", "low", "How many answers have a sentence that nothing retrieved supports."),
    "conflict": Metric("conflict", "share", "low", "How many answers differ from a retrieved sentence in a number or a denial."),
    "baseless": Metric("baseless", "share", "low", "How many answers have a sentence without a base in anything retrieved."),
    "judged_fact_recall": Metric(
        "judged_fact_recall", "mean", "high", "Of the facts that a good answer holds, the share that a judging language model finds in it."
    ),
    "abstention_recall": Metric(
        "abstention_recall", "share", "high", "Of the questions that the articles cannot answer, how many were not answered."
    ),
    "abstention_precision": Metric("abstention_precision", "share", "high", "Of the questions not answered, how many could not have been."),
    "answered_when_unanswerable": Metric(
        "answered_when_unanswerable", "share", "low", "Of the unanswerable questions in scope, how many were answered."
    ),
    "abstained_when_answerable": Metric(
        "abstained_when_answerable", "share", "low", "Of the answerable questions, how many were not answered."
    ),
    "out_of_scope_declined": Metric(
        "out_of_scope_declined", "share", "high", "Of the questions on other subjects, how many were not answered."
    ),
    "risk_coverage_area": Metric(
        "risk", "area", "low", "Mean share of wrong answers when only the most confident are given, over all shares of questions answered."
    ),
    "p50_ms": Metric("ms", 0.50, "low", "Half of the replies took at most this many milliseconds."),
    "p95_ms": Metric("ms", 0.95, "low", "95 of 100 replies took at most this many milliseconds."),
    "p99_ms": Metric("ms", 0.99, "low", "99 of 100 replies took at most this many milliseconds."),
    "reading_grade": Metric("reading_grade", "mean", "low", "Flesch-Kincaid school grade of the answers."),
    "grade_above_9": Metric("grade_above_9", "share", "low", "How many answers read harder than school grade 9."),
    "words": Metric("words", "mean", "neither", "Words in an answer."),
}


def estimate(name: str, scores: Sequence[dict[str, Any]]) -> Estimate:
    """Return metric `name` over the scores of cases; a case without that score, or with None, is not counted."""
    metric = METRICS[name]
    values = [row[metric.score] for row in scores if row.get(metric.score) is not None]
    if not values:
        return NOTHING
    if metric.how == "share":
        return proportion(sum(values), len(values))
    if metric.how == "mean":
        return mean(values)
    if metric.how == "area":
        return risk_coverage_area([(confidence, bool(wrong)) for confidence, wrong in values])
    return quantile(values, metric.how)
