"""The kinds of suite by name."""

from evals.abstention import ABSTENTION
from evals.answers import ANSWERS, READABILITY
from evals.citations import CITATIONS
from evals.groundedness import GROUNDEDNESS
from evals.guardrail import CONVERSATIONS, GUARDRAIL
from evals.measure import Measure
from evals.replies import LATENCY
from evals.retrieval import RETRIEVAL
from evals.robustness import ROBUSTNESS
from evals.suite import Kind

MEASURES: dict[Kind, Measure] = {
    "guardrail": GUARDRAIL,
    "conversations": CONVERSATIONS,
    "robustness": ROBUSTNESS,
    "retrieval": RETRIEVAL,
    "answers": ANSWERS,
    "citations": CITATIONS,
    "groundedness": GROUNDEDNESS,
    "abstention": ABSTENTION,
    "latency": LATENCY,
    "readability": READABILITY,
}
