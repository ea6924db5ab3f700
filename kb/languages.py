"""Reads `languages/*.yaml`: the safety advice and the danger words of other languages."""

import re
import unicodedata
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kb.article import KB_DIR, SAFE_LOADER
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
MARKS = re.compile(r"[\u0300-\u036f\u0640\u064b-\u065f\u0670]")
# Letters that Unicode does not take apart, and those that Arabic and Urdu keyboards give for one another.
SAME = str.maketrans(
    {"ı": "i", "ł": "l", "đ": "d", "ø": "o", "ى": "ي", "ی": "ي", "ک": "ك", "ہ": "ه", "ھ": "ه", "ة": "ه", "ۃ": "ه", "ں": "ن"}
)
GAP = re.compile(r"~(\d+)")


class Pattern(BaseModel):
    """A danger wording, with its level where it differs from its flag's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    p: str
    level: Level | None = None

    @cached_property
    def regex(self) -> re.Pattern[str]:
        """The wording, compiled when a message is first searched for it: all three thousand take longer than the rest of a cold start."""
        return re.compile(self.p)


class Language(BaseModel):
    """One language: how it is told, what is said in it, and how its speakers word red flags."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: str = Field(min_length=2, max_length=3)
    name: str
    direction: Literal["ltr", "rtl"]
    function_words: list[str]
    greetings: list[str]
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
    not_after: list[str] = []
    not_before: str = ""
    gap: str = "."
    patterns: dict[Code, list[Pattern]]

    @model_validator(mode="before")
    @classmethod
    def _whole_patterns(cls, value: Any) -> Any:
        """Give each danger wording the denials that its language has in common, and fold its letters like a message's."""
        if not isinstance(value, dict) or not isinstance(value.get("patterns"), dict):
            return value
        before = "".join(f"(?<!{word})" for word in value.get("not_after", ()))
        after = f"(?!{value['not_before']})" if value.get("not_before") else ""
        gap = f"(?:{value.get('gap', '.')})"

        def whole(entry: Any) -> Any:
            entry = {"p": entry} if isinstance(entry, str) else entry
            if not isinstance(entry, dict) or not isinstance(entry.get("p"), str):
                return entry
            words = GAP.sub(lambda match: f"{gap}{{0,{match[1]}}}", entry["p"])
            return {**entry, "p": fold(f"{before}(?:{words}){after}")}

        return {**value, "patterns": {code: [whole(entry) for entry in entries] for code, entries in value["patterns"].items()}}


def fold(text: str) -> str:
    """Return lower-case `text` without accents and vowel marks, and with one letter for those that keyboards mix up.

    Accents are what people leave out. Unless it holds loose marks, the text keeps its length. Scripts whose marks are letters
    (Devanagari, Bengali, kana) stay.
    """
    return "".join(map(_base, MARKS.sub("", text))).translate(SAME)


def _base(letter: str) -> str:
    return unicodedata.normalize("NFD", letter)[0] if letter < "\u0900" or "\u1e00" <= letter < "\u1f00" else letter


@lru_cache(maxsize=1)
def read_languages(folder: Path = KB_DIR / "languages") -> dict[str, Language]:
    """Read every language, by code.

    Raises:
        ValueError: a file is not valid; the message names the file and the field.
    """
    languages: dict[str, Language] = {}
    for path in sorted(folder.glob("*.yaml")):
        try:
            text = path.read_text(encoding="utf-8")
            language = Language.model_validate(yaml.load(text, Loader=SAFE_LOADER))
        except (OSError, yaml.YAMLError) as error:
            raise ValueError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise ValueError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        languages[language.code] = language
    return languages
