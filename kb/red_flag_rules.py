"""Reads the plain rules of the guardrail, `red_flag_rules.yaml`."""

import re
from functools import lru_cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kb.article import KB_DIR
from kb.red_flags import Code, Level


class Rule(BaseModel):
    """One rule; `all` names concepts or gives patterns, `within` is the most words that its findings may span (0 for one concept)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    code: Code
    level: Level
    all: list[str] = Field(min_length=1)
    within: int = Field(ge=0)
    must_fire: list[str] = Field(min_length=1)
    must_not_fire: list[str] = Field(min_length=1)


class Rules(BaseModel):
    """The whole file, with `patterns` compiled for each rule."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    concepts: dict[str, str]
    rules: list[Rule]

    def patterns(self, rule: Rule) -> list[re.Pattern[str]]:
        """Return the rule's patterns; a name that is no concept is itself a pattern."""
        return [_compiled(self.concepts.get(part, part)) for part in rule.all]


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{pattern})(?!\w)")


@lru_cache(maxsize=1)
def read_rules(path: Path = KB_DIR / "red_flag_rules.yaml") -> Rules:
    """Read and check the rules.

    Raises:
        ValueError: the file is not valid; the message names the file and the field.
    """
    try:
        rules = Rules.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        for rule in rules.rules:
            rules.patterns(rule)
    except (OSError, yaml.YAMLError, re.error) as error:
        raise ValueError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    return rules
