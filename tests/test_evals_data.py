"""The test data stay apart from what is tuned on, and their labels still hold."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import get_args

import numpy as np
from rapidfuzz import fuzz, process

from evals.case import GuardrailRow, read_conversations, read_guardrail, read_questions, read_rows
from evals.robustness import say_otherwise
from evals.suite import read_suite
from kb.article import KB_DIR, read_articles
from kb.red_flags import Code

ROOT = KB_DIR.parent
DATA = ROOT / "evals" / "data"
TUNED_ON = ROOT / "bot" / "guardrail" / "training" / "data"
SINGLE = [DATA / "guardrail" / f"test-{name}.jsonl" for name in ("redflags", "benign", "languages")]
SAME_MEANING = DATA / "same-meaning.jsonl"
NEARLY_THE_SAME = 96
"""Of 100; above it two messages differ by a typing error or a word."""
SHORT = 7
"""Words below which a turn of a conversation says too little to give anything away."""


def test_the_bot_knows_nothing_of_the_evals():
    for package in ("kb", "ingest", "bot"):
        for path in (ROOT / package).rglob("*.py"):
            assert not re.search(r"evals[./](data|case|suite)|from evals|import evals", path.read_text(encoding="utf-8")), path


def test_each_line_of_the_guardrail_data_is_valid():
    levels = Counter(case.expected["level"] for case in read_guardrail(SINGLE))
    # One-sided, "at least 99% are caught" needs 299 positives with no miss.
    assert sum(levels.values()) - levels["none"] >= 299 and levels["none"] >= 299
    assert read_conversations([DATA / "guardrail" / "test-conversations.jsonl"])


def test_languages_are_a_slice_of_the_guardrail_suite():
    suite = read_suite("guardrail")
    languages = Counter(lang for case in read_guardrail(suite.data) for lang in case.tags["lang"])
    assert len(languages) >= 17 and languages["en"] >= 1000
    assert {path.resolve() for path in suite.data} == set(SINGLE)


def test_no_two_test_messages_are_nearly_the_same():
    texts = [(case.id, _plain(case.messages[-1].content)) for case in read_guardrail([*SINGLE, SAME_MEANING])]
    near = process.cdist([text for _, text in texts], [text for _, text in texts], scorer=fuzz.ratio, score_cutoff=NEARLY_THE_SAME)
    assert [(texts[i][0], texts[j][0]) for i, j in zip(*np.nonzero(near), strict=True) if i < j] == []


def test_the_same_is_said_otherwise_by_hand():
    rows = list(read_rows(SAME_MEANING, GuardrailRow))
    flags = [row for row in rows if row.expect != "none"]
    assert len(rows) == 60 and len(flags) == 30
    assert all(len(row.paraphrases) == 3 and len(row.translations) == 2 for row in rows)
    assert set(Counter(lang for row in rows for lang in row.translations).values()) == {20}
    # Every flag of the policy, save 'other', is among them.
    assert {code for row in flags for code in row.codes} >= set(get_args(Code)) - {"other"}


def test_no_test_message_was_trained_or_tuned_on():
    tuned = [(path.name, row["id"], row["text"]) for path in sorted(TUNED_ON.glob("*.jsonl")) for row in _rows(path) if "text" in row]
    tested = [(case.id, case.messages[-1].content) for case in read_guardrail(SINGLE)]
    tested += [(form.id, form.messages[-1].content) for row in read_rows(SAME_MEANING, GuardrailRow) for form in say_otherwise(row)]
    near = process.cdist(
        [_plain(text) for _, text in tested], [_plain(text) for *_, text in tuned], scorer=fuzz.ratio, score_cutoff=NEARLY_THE_SAME
    )
    # Ids only: the messages are blind.
    assert [(tested[i][0], *tuned[j][:2]) for i, j in zip(*np.nonzero(near), strict=True)] == []


def test_no_test_conversation_was_trained_or_tuned_on():
    tuned = [(path.name, row["id"], text) for path in sorted(TUNED_ON.glob("*.jsonl")) for row in _rows(path) for text in _said(row)]
    tested = [(row["id"], text) for row in _rows(DATA / "guardrail" / "test-conversations.jsonl") for text in _said(row)]
    near = process.cdist(
        [_plain(text) for _, text in tested], [_plain(text) for *_, text in tuned], scorer=fuzz.ratio, score_cutoff=NEARLY_THE_SAME
    )
    assert [(tested[i][0], *tuned[j][:2]) for i, j in zip(*np.nonzero(near), strict=True)] == []


def test_no_test_question_is_a_development_question():
    tested, tuned = (
        [(case.id, _plain(case.messages[-1].content)) for case in read_questions([DATA / name])]
        for name in ("questions.jsonl", "questions-dev.jsonl")
    )
    near = process.cdist([text for _, text in tested], [text for _, text in tuned], scorer=fuzz.ratio, score_cutoff=NEARLY_THE_SAME)
    assert [(tested[i][0], tuned[j][0]) for i, j in zip(*np.nonzero(near), strict=True)] == []


def test_each_question_s_quote_stands_in_its_article():
    articles = {article.meta.id: " ".join(section.text for section in article.sections) for article in read_articles(KB_DIR)[0]}
    gone = []
    for case in read_questions([DATA / "questions.jsonl"]):
        if case.expected["kind"] == "answerable" and _plain(case.expected["quote"]) not in _plain(
            articles.get(case.expected["article"], "")
        ):
            gone.append(case.id)
    assert gone == []


def _said(row: dict) -> list[str]:
    """Return what the user says, without short turns such as "thanks, that helps", which everybody writes."""
    texts = [turn["content"] for turn in row.get("messages", []) if turn["role"] == "user"] or [row.get("text", "")]
    return [text for text in texts if len(text.split()) >= SHORT]


def _rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
