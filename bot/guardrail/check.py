"""The two passes of the guardrail: over what comes in, failing closed, and over what goes out, sentence by sentence."""

import logging
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict

from bot.guardrail.verdict import judge
from bot.turn import Message, Verdict
from kb.article import KB_DIR

log = logging.getLogger(__name__)
READ = 6000


class ReplyRule(BaseModel):
    """A wording that may not go out, unless `allow` matches the same sentence."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: str
    pattern: re.Pattern[str]
    allow: re.Pattern[str] | None = None
    must_match: list[str]
    must_pass: list[str]


@lru_cache(maxsize=1)
def read_reply_rules(path: Path = KB_DIR / "reply_rules.yaml") -> tuple[ReplyRule, ...]:
    """Read `kb/reply_rules.yaml`."""
    return tuple(ReplyRule.model_validate(rule) for rule in yaml.safe_load(path.read_text(encoding="utf-8"))["rules"])


def check_message(messages: Sequence[Message]) -> Verdict:
    """Judge a conversation that ends with the user's message.

    Fails closed: if any part of the judging breaks, the verdict says so and the caller gives the safety advice.
    A message too long to be read whole is judged by its beginning and its end.
    """
    try:
        return judge([message if len(message.content) <= 2 * READ else _ends(message) for message in messages])
    except Exception as error:  # noqa: BLE001  whatever breaks, the person gets the advice
        log.error("guardrail failed: %s", type(error).__name__)
        return Verdict(failed=True)


def _ends(message: Message) -> Message:
    return Message(role=message.role, content=f"{message.content[:READ]}\n{message.content[-READ:]}")


def unsafe(sentence: str) -> str | None:
    """Return why a sentence may not go out, or None if it may."""
    lowered = sentence.lower().replace("’", "'")
    for rule in read_reply_rules():
        if rule.pattern.search(lowered) and not (rule.allow and rule.allow.search(lowered)):
            return rule.code
    return None
