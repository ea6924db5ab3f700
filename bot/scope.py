"""Tells questions about back pain and running from small talk, other subjects, and requests that are declined whatever the subject."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict

from bot.guardrail.normalise import normalise

Scope = Literal[
    "question",
    "smalltalk_greeting",
    "smalltalk_thanks",
    "smalltalk_bye",
    "smalltalk_about",
    "declined_scope",
    "declined_diagnosis",
    "declined_prescription",
    "declined_unsafe",
]


class ScopeRule(BaseModel):
    """A pattern over the normalised message, and what the message then is. The first that matches decides."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scope: Scope
    pattern: re.Pattern[str]
    unless: re.Pattern[str] | None = None
    max_words: int | None = None
    must_match: list[str]
    must_not_match: list[str]


@lru_cache(maxsize=1)
def read_scope_rules(path: Path = Path(__file__).parent / "scope.yaml") -> tuple[ScopeRule, ...]:
    """Read `scope.yaml`."""
    return tuple(ScopeRule.model_validate(rule) for rule in yaml.safe_load(path.read_text(encoding="utf-8"))["rules"])


def classify(text: str) -> Scope:
    """Return what a message is; 'question' unless a rule says otherwise."""
    plain = normalise(text).lower()
    for rule in read_scope_rules():
        if rule.max_words and len(plain.split()) > rule.max_words:
            continue
        if rule.pattern.search(plain) and not (rule.unless and rule.unless.search(plain)):
            return rule.scope
    return "question"
