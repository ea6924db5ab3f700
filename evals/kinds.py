"""The kinds of suite by name."""

from evals.guardrail import CONVERSATIONS, GUARDRAIL
from evals.measure import Measure
from evals.suite import Kind

MEASURES: dict[Kind, Measure] = {
    "guardrail": GUARDRAIL,
    "conversations": CONVERSATIONS,
}
