"""Suite files: which data, which kind of measuring, and the gates that must hold. Owns their format and its errors."""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from evals.case import first_problem
from evals.catalog import METRICS
from ingest.cli import BadInput

SUITES = Path(__file__).parent / "suites"
GATE = re.compile(r"(?P<metric>[\w@-]+)(?:\.(?P<part>low|high))?\s*(?P<sign>>=|<=|==)\s*(?P<bound>\d+(?:\.\d+)?)")
SIGNS: dict[str, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le, "==": operator.eq}
Kind = Literal[
    "guardrail", "conversations", "robustness", "retrieval", "answers", "citations", "groundedness", "abstention", "latency", "readability"
]


@dataclass(frozen=True)
class Gate:
    """One line such as `sensitivity >= 0.99`; `part` is low or high for a gate on the interval's end."""

    text: str
    metric: str
    part: Literal["value", "low", "high"]
    sign: str
    bound: float

    def holds(self, value: float) -> bool:
        """Say whether a measured value passes."""
        return SIGNS[self.sign](value, self.bound)


def read_gate(text: str) -> Gate:
    """Read a gate.

    Raises:
        ValueError: it is not `metric >= number`, or there is no such metric.
    """
    match = GATE.fullmatch(text.strip())
    if not match:
        raise ValueError(f"not a gate such as 'sensitivity >= 0.99': {text!r}")
    if match["metric"] not in METRICS:
        raise ValueError(f"unknown metric {match['metric']!r}; known are {', '.join(METRICS)}")
    part: Literal["value", "low", "high"] = "low" if match["part"] == "low" else "high" if match["part"] == "high" else "value"
    return Gate(text.strip(), match["metric"], part, match["sign"], float(match["bound"]))


def _is_gate(text: str) -> str:
    read_gate(text)
    return text


class Suite(BaseModel):
    """A suite file, read. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", description="The same as the file's name without its ending.")
    kind: Kind = Field(description="What is run and how it is scored.")
    data: list[Path] = Field(min_length=1, description="Files of cases, relative to the suite file.")
    why: str = Field(min_length=10, description="Why the suite exists, in a sentence.")
    gates: list[Annotated[str, AfterValidator(_is_gate)]] = Field(default_factory=list, description="Lines such as 'sensitivity >= 0.99'.")
    gates_on_own_data: list[Annotated[str, AfterValidator(_is_gate)]] = Field(
        default_factory=list, description="Gates whose bounds were chosen for these data; left out when others are given."
    )
    every: int = Field(
        default=1, ge=1, description="Take only each so-manieth line of the suite's own data, where all would take too long."
    )
    tolerance: float = Field(default=0.01, ge=0, description="How far a metric may fall below the saved baseline.")

    def read_gates(self) -> list[Gate]:
        """Return the gates."""
        return [read_gate(text) for text in (*self.gates, *self.gates_on_own_data)]

    def on(self, data: Path) -> "Suite":
        """Return the same suite over other data."""
        return self.model_copy(update={"data": [data], "gates_on_own_data": [], "every": 1})


def suite_names() -> list[str]:
    """Return the names of the suites that come with the product, in order."""
    return sorted(path.stem for path in SUITES.glob("*.yaml"))


def read_suite(name: str) -> Suite:
    """Read a suite by its name, or by the path of its file; its data paths come out absolute.

    Raises:
        BadInput: there is no such suite, or its file is not valid.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else SUITES / f"{name}.yaml"
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        suite = Suite.model_validate(data)
    except FileNotFoundError as error:
        raise BadInput(f"{name}: no such suite; there are {', '.join(suite_names())}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise BadInput(f"{path}:{mark.line + 1 if mark else 1}: not YAML: {getattr(error, 'problem', error)}") from error
    except ValidationError as error:
        raise BadInput(f"{path}:{_line_of(path, error)}: {first_problem(error)}") from error
    if suite.name != path.stem:
        raise BadInput(f"{path}: name: {suite.name!r} is not the file's name")
    return suite.model_copy(update={"data": [path.parent / file for file in suite.data]})


def _line_of(path: Path, error: ValidationError) -> int:
    place = error.errors(include_url=False)[0]["loc"]
    if not place:
        return 1
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((number for number, line in enumerate(lines, start=1) if line.startswith(f"{place[0]}:")), 1)
