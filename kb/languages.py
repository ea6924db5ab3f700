"""Reads `languages/*.yaml`: the safety advice and the danger words of other languages."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from kb.article import KB_DIR
from kb.red_flags import Code, Level

LEVEL_OF: dict[str, Level] = {
    "cauda_equina": "emergency",
    "vascular": "emergency",
    "cardiac_pulmonary": "emergency",
    "rhabdo_heat": "emergency",
    "pregnancy": "emergency",
    "medicine_harm": "emergency",
    "mental_crisis": "emergency",
    "inflammatory": "see_doctor",
    "persistent": "see_doctor",
}


class Pattern(BaseModel):
    """A danger wording, with its level where it differs from its flag's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    p: re.Pattern[str]
    level: Level | None = None


class Language(BaseModel):
    """One language: how it is told, what is said in it, and how its speakers word red flags."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: str = Field(min_length=2, max_length=3)
    name: str
    direction: Literal["ltr", "rtl"]
    function_words: list[str]
    english_only: str
    cannot_judge: str
    levels: dict[Literal["see_doctor", "urgent", "emergency"], str]
    emergency_default: str
    because: str
    not_diagnosis: str
    danger_signs_title: str
    danger_signs: list[str] = Field(min_length=5)
    crisis: str
    negations: list[str]
    patterns: dict[Code, list[Pattern]]

    @field_validator("patterns", mode="before")
    @classmethod
    def _plain_patterns(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {code: [entry if isinstance(entry, dict) else {"p": entry} for entry in entries] for code, entries in value.items()}


@lru_cache(maxsize=1)
def read_languages(folder: Path = KB_DIR / "languages") -> dict[str, Language]:
    """Read every language, by code.

    Raises:
        ValueError: a file is not valid; the message names the file and the field.
    """
    languages: dict[str, Language] = {}
    for path in sorted(folder.glob("*.yaml")):
        try:
            language = Language.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except (OSError, yaml.YAMLError) as error:
            raise ValueError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise ValueError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        languages[language.code] = language
    return languages
