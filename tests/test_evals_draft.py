"""Complaints become draft cases, only with consent, and only once."""

import json

import pytest

from bot.feedback import Feedback, store
from bot.turn import Message
from evals.case import read_guardrail
from evals.draft import draft_cases
from ingest.cli import BadInput

TURNS = [
    Message(role="user", content="hello"),
    Message(role="assistant", content="hi"),
    Message(role="user", content="my foot slaps the ground"),
    Message(role="assistant", content="Try new shoes."),
]


@pytest.fixture
def ratings(tmp_path):
    path = tmp_path / "feedback.sqlite"
    store(path, Feedback(rating="down", consent=True, comment="it missed this", messages=TURNS))
    store(path, Feedback(rating="down", consent=False, messages=TURNS))
    store(path, Feedback(rating="up", consent=True, messages=TURNS))
    return path


def test_only_complaints_with_consent_become_drafts(ratings, tmp_path):
    target = tmp_path / "drafts.jsonl"
    done = draft_cases(ratings, target)
    assert (done.added, done.known, done.without_consent) == (1, 0, 1)
    row = json.loads(target.read_text(encoding="utf-8"))
    assert row["id"] == "complaint-1" and row["messages"][-1] == {"role": "user", "content": "my foot slaps the ground"}
    assert row["bot_said"] == ["Try new shoes."] and row["complaint"] == "it missed this"
    assert (draft_cases(ratings, target).added, len(target.read_text(encoding="utf-8").splitlines())) == (0, 1)


def test_a_draft_is_no_case_before_it_is_labelled(ratings, tmp_path):
    target = tmp_path / "drafts.jsonl"
    draft_cases(ratings, target)
    with pytest.raises(BadInput, match="expect"):
        read_guardrail([target])
    target.write_text(json.dumps(json.loads(target.read_text(encoding="utf-8")) | {"expect": "emergency"}), encoding="utf-8")
    assert read_guardrail([target])[0].expected["level"] == "emergency"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [("absent.sqlite", None, "no ratings here"), ("odd.sqlite", "not a database", "cannot be read")],
)
def test_what_is_no_database_is_named(tmp_path, name, content, words):
    path = tmp_path / name
    if content:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(BadInput, match=words):
        draft_cases(path, tmp_path / "drafts.jsonl")
