"""Reads the safety policy, `red_flags.yaml`: levels, flags, their wording and the numbers to call by region."""

import datetime as dt
import re
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kb.article import KB_DIR

Level = Literal["none", "see_doctor", "urgent", "emergency"]
Code = Literal[
    "cauda_equina",
    "neuro_deficit",
    "radicular_severe",
    "fracture",
    "infection",
    "malignancy",
    "vascular",
    "cardiac_pulmonary",
    "renal_abdominal",
    "rhabdo_heat",
    "pregnancy",
    "child",
    "medicine_harm",
    "mental_crisis",
    "cervical_myelopathy",
    "inflammatory",
    "persistent",
    "other",
]
LEVELS: tuple[Level, ...] = get_args(Level)
CODES: tuple[Code, ...] = get_args(Code)
DEFAULT_REGION = "ZZ"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LevelWording(_Strict):
    """How a level is said."""

    title: str
    lead: str
    detail: str


class Region(_Strict):
    """Whom to call, in the words of one region."""

    name: str
    emergency: str
    emergency_department: str
    same_day: str
    doctor: str
    crisis: str
    poisons: str
    maternity: str


class Flag(_Strict):
    """One kind of red flag."""

    name: str
    level: Level
    ask: str = Field(description="The one question that decides a doubtful case.")
    needs: re.Pattern[str] | None = Field(
        default=None, description="A message without these words is not about this flag, whatever the classifier says."
    )
    lead: str | None = None
    detail: str | None = None
    why: str
    waiting: list[str] = Field(min_length=1)
    sources: list[str] = Field(min_length=1)


class Phrases(_Strict):
    """Sentences that advice is put together from."""

    because: str
    because_earlier: str
    waiting: str
    worse: str
    worse_signs: str
    not_diagnosis: str
    unclear_region: str
    retracted: str
    cannot_judge: str
    fail_closed: str
    danger_signs_title: str
    danger_signs: list[str]


class Policy(_Strict):
    """The whole of `red_flags.yaml`."""

    checked: dt.date
    review_due: dt.date
    review_status: str
    levels: dict[Literal["see_doctor", "urgent", "emergency"], LevelWording]
    phrases: Phrases
    regions: dict[str, Region]
    flags: dict[Code, Flag]

    def region(self, code: str | None) -> Region:
        """Return the wording of a region; an unknown or missing code gets the neutral one."""
        return self.regions.get((code or DEFAULT_REGION).upper(), self.regions[DEFAULT_REGION])


@lru_cache(maxsize=1)
def read_policy(path: Path = KB_DIR / "red_flags.yaml") -> Policy:
    """Read and check the policy.

    Raises:
        ValueError: it is not valid; the message names the file and the field.
    """
    try:
        policy = Policy.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    missing = set(CODES) - policy.flags.keys()
    if missing or DEFAULT_REGION not in policy.regions:
        raise ValueError(f"{path}: missing flags {sorted(missing)} or the neutral region {DEFAULT_REGION}")
    return policy
