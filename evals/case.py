"""A case: what goes in, what is expected, and the slices it counts in. Reads cases from JSON Lines and names bad lines exactly."""

import difflib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bot.turn import Message
from ingest.cli import BadInput
from kb.red_flags import Code, Level


@dataclass(frozen=True)
class Case:
    """One case of any suite. `given` and `expected` are plain JSON, so that a run can store them; `tags` maps slice to values."""

    id: str
    given: dict[str, Any]
    expected: dict[str, Any]
    tags: dict[str, tuple[str, ...]]

    @property
    def messages(self) -> list[Message]:
        """The conversation that is given; its last message is the user's."""
        return [Message.model_validate(message) for message in self.given["messages"]]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(min_length=1)


class GuardrailRow(_Row):
    """A message or a conversation, and the level to be in force after it. Other keys are slices."""

    model_config = ConfigDict(extra="allow")

    text: str | None = None
    messages: list[Message] | None = None
    expect: Level
    accept: list[Level] = Field(default=[], description="Levels that are as good.")
    codes: list[Code] = []
    paraphrases: list[str] = Field(default=[], description="The same message in other words, for the robustness suite.")
    translations: dict[str, str] = Field(default={}, description="Language code to the same message, for the robustness suite.")

    @model_validator(mode="after")
    def _one_input(self) -> "GuardrailRow":
        if (self.text is None) == (self.messages is None):
            raise ValueError("give either 'text' or 'messages'")
        if self.messages is not None and (not self.messages or self.messages[-1].role != "user"):
            raise ValueError("messages must end with a user message")
        if not (self.text if self.text is not None else self.messages[-1].content if self.messages else "").strip():
            raise ValueError("the message is empty")
        return self


class LabelledMessage(BaseModel):
    """A message of a conversation; a user's may say which level is to be in force after it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Literal["user", "assistant"]
    content: str
    expect: Level | None = None
    accept: list[Level] = []
    codes: list[Code] = []


class ConversationRow(_Row):
    """A conversation with expectations on its user turns. Other keys are slices."""

    model_config = ConfigDict(extra="allow")

    messages: list[LabelledMessage] = Field(min_length=1)

    @model_validator(mode="after")
    def _some_expectation(self) -> "ConversationRow":
        if any(message.expect for message in self.messages if message.role == "assistant"):
            raise ValueError("'expect' belongs on user messages")
        if not any(message.expect for message in self.messages):
            raise ValueError("no user message has 'expect'")
        return self


class QuestionRow(_Row):
    """A question and what a good reply to it does; `quote` stands in the article that answers it."""

    text: str = Field(min_length=1)
    kind: Literal["answerable", "unanswerable", "out_of_scope"]
    article: str | None = None
    quote: str | None = None
    key_facts: list[str] = []
    must_not: list[str] = []
    also: list[str] = Field(default=[], description="Other articles that answer it too.")
    overlap: str | None = Field(default=None, description="How many words it shares with the quote: low, some or high.")
    topic: str | None = None
    style: str | None = None
    lang: str | None = None
    source: str | None = None
    note: str | None = None

    @model_validator(mode="after")
    def _label(self) -> "QuestionRow":
        if self.kind == "answerable" and not (self.article and self.quote):
            raise ValueError("an answerable question needs 'article' and 'quote'")
        return self


Row = TypeVar("Row", bound=BaseModel)


def read_guardrail(paths: Sequence[Path]) -> list[Case]:
    """Read single messages (or whole conversations judged at their end)."""
    return unique(guardrail_case(row) for path in paths for row in read_rows(path, GuardrailRow))


def read_conversations(paths: Sequence[Path]) -> list[Case]:
    """Read conversations into one case a labelled user turn: what stands before it, and the level in force after it."""
    return unique(case for path in paths for row in read_rows(path, ConversationRow) for case in _turn_cases(row))


def read_questions(paths: Sequence[Path]) -> list[Case]:
    """Read questions."""
    return unique(_question_case(row) for path in paths for row in read_rows(path, QuestionRow))


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text file that are not blank, with their numbers from 1.

    Raises:
        BadInput: the file cannot be read as UTF-8 text, or holds nothing.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read: {error}") from error
    if not text.strip():
        raise BadInput(f"{path}: holds no cases")
    # Not splitlines(): it also cuts at characters such as U+2028, which JSON allows inside a string.
    yield from ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())


def read_rows(path: Path, model: type[Row]) -> Iterator[Row]:
    """Yield the lines of a JSON Lines file as `model`.

    Raises:
        BadInput: a line is malformed; the message names it.
    """
    for number, line in read_lines(path):
        try:
            data = json.loads(line)
        except ValueError as error:
            raise BadInput(f"{path}:{number}: not JSON: {error}") from error
        if not isinstance(data, dict):
            raise BadInput(f"{path}:{number}: not a JSON object")
        for key in data.keys() - model.model_fields.keys():
            meant = difflib.get_close_matches(key, model.model_fields, n=1, cutoff=0.8)
            if meant:
                raise BadInput(f"{path}:{number}: unknown key {key!r}; is {meant[0]!r} meant?")
        try:
            yield model.model_validate(data)
        except ValidationError as error:
            raise BadInput(f"{path}:{number}: {first_problem(error)}") from error


def first_problem(error: ValidationError) -> str:
    """Return the first problem of a validation as `field: problem: value`, on one line."""
    first = error.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    value = f": {first['input']!r}" if field and isinstance(first["input"], str | int | float) else ""
    return f"{field}: {message}{value}" if field else message


def unique(cases: Iterable[Case]) -> list[Case]:
    """Return the cases as a list.

    Raises:
        BadInput: two have the same id.
    """
    out: dict[str, Case] = {}
    for case in cases:
        if case.id in out:
            raise BadInput(f"id {case.id!r} stands twice in the data")
        out[case.id] = case
    return list(out.values())


def guardrail_case(row: GuardrailRow) -> Case:
    """Return the case of a line."""
    messages = row.messages or [Message(role="user", content=row.text or "")]
    given = {"messages": [message.model_dump() for message in messages]}
    return _level_case(row.id, given, row.expect, row.accept, row.codes, _slices(row.model_extra))


def _turn_cases(row: ConversationRow) -> Iterator[Case]:
    plain = [{"role": message.role, "content": message.content} for message in row.messages]
    for i, message in enumerate(row.messages):
        if message.expect:
            tags = _slices(row.model_extra) | {"conversation": (row.id,)}
            yield _level_case(f"{row.id}/{i}", {"messages": plain[: i + 1]}, message.expect, message.accept, message.codes, tags)


def _level_case(
    name: str, given: dict[str, Any], expect: Level, accept: list[Level], codes: list[Code], tags: dict[str, tuple[str, ...]]
) -> Case:
    expected = {"level": expect, "accept": accept, "codes": codes}
    return Case(name, given, expected, tags | {"level": (expect,)} | ({"code": tuple(codes)} if codes else {}))


def _question_case(row: QuestionRow) -> Case:
    expected = row.model_dump(include={"kind", "article", "also", "quote", "key_facts", "must_not"})
    named = {name: getattr(row, name) for name in ("kind", "topic", "style", "lang")}
    tags: dict[str, tuple[str, ...]] = {name: (value,) for name, value in named.items() if value}
    return Case(row.id, {"messages": [{"role": "user", "content": row.text}]}, expected, tags)


def _slices(extra: dict[str, Any] | None) -> dict[str, tuple[str, ...]]:
    """Return the keys that no model names as slices; a value that is neither a word nor a list of words is no slice."""
    out = {}
    for key, value in (extra or {}).items():
        values = value if isinstance(value, list) else [value]
        if all(isinstance(item, str | int | bool) for item in values):
            out[key] = tuple(str(item) for item in values)
    return out
