"""What is read: good lines become cases, bad lines become one line that says where and what."""

import json

import jsonschema
import pytest

from evals.case import read_conversations, read_guardrail, read_questions
from evals.corpus import Document, chunk_document, read_beir
from evals.schema import PUBLISHED, schemas
from evals.suite import read_gate, read_suite, suite_names
from ingest.cli import BadInput
from kb.article import KB_DIR

DATA = KB_DIR.parent / "evals" / "data"

GOOD = {"id": "a", "text": "my back hurts", "expect": "none"}
QUESTION = {"id": "a", "text": "Heat or ice?", "kind": "answerable", "article": "heat", "quote": "Heat helps."}
TURNS = [
    {"role": "user", "content": "hello", "expect": "none"},
    {"role": "assistant", "content": "hi"},
    {"role": "user", "content": "I fell", "expect": "urgent"},
]


@pytest.fixture
def lines(tmp_path):
    def write(*rows):
        path = tmp_path / "cases.jsonl"
        path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
        return path

    return write


def test_other_keys_become_slices(lines):
    case = read_guardrail([lines(GOOD | {"kind": "slang", "lang": "en", "codes": ["fracture"], "batch": 3})])[0]
    assert case.tags == {"kind": ("slang",), "lang": ("en",), "batch": ("3",), "level": ("none",), "code": ("fracture",)}


def test_a_conversation_is_one_case_a_labelled_turn(lines):
    cases = read_conversations([lines({"id": "c", "messages": TURNS})])
    assert [(case.id, case.expected["level"], len(case.messages)) for case in cases] == [("c/0", "none", 1), ("c/2", "urgent", 3)]


def test_a_line_separator_inside_a_message_does_not_cut_the_line(lines):
    assert read_guardrail([lines(GOOD | {"text": "my back\u2028hurts"})])[0].messages[0].content == "my back\u2028hurts"


@pytest.mark.parametrize(
    ("read", "rows", "line", "words"),
    [
        pytest.param(read_guardrail, [GOOD, "{oops"], 2, "not JSON", id="not json"),
        pytest.param(read_guardrail, ["[1]"], 1, "not a JSON object", id="not an object"),
        pytest.param(read_guardrail, [GOOD | {"expect": "soon"}], 1, "expect: ", id="unknown level"),
        pytest.param(read_guardrail, [{"id": "a", "text": "x"}], 1, "expect: ", id="no expectation"),
        pytest.param(read_guardrail, [GOOD | {"messages": [{"role": "user", "content": "x"}]}], 1, "either", id="two inputs"),
        pytest.param(
            read_guardrail, [{"id": "a", "expect": "none", "messages": [{"role": "assistant", "content": "x"}]}], 1, "user", id="ends wrong"
        ),
        pytest.param(read_guardrail, [GOOD | {"text": "  "}], 1, "empty", id="empty message"),
        pytest.param(read_guardrail, [GOOD | {"acept": ["urgent"]}], 1, "is 'accept' meant", id="misspelt key"),
        pytest.param(read_guardrail, [GOOD, "", GOOD], None, "'a' stands twice", id="same id twice"),
        pytest.param(read_guardrail, [""], None, "holds no cases", id="empty file"),
        pytest.param(read_conversations, [{"id": "c", "messages": TURNS[1:2]}], 1, "no user message has 'expect'", id="nothing expected"),
        pytest.param(read_questions, [QUESTION | {"colour": "red"}], 1, "colour", id="unknown key"),
        pytest.param(read_questions, [{"id": "a", "text": "x", "kind": "answerable"}], 1, "needs 'article'", id="no label"),
    ],
)
def test_a_bad_line_is_named(lines, read, rows, line, words):
    path = lines(*rows)
    with pytest.raises(BadInput) as caught:
        read([path])
    assert words in str(caught.value) and "\n" not in str(caught.value)
    if line:
        assert str(caught.value).startswith(f"{path}:{line}: ")


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        pytest.param("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\td1", ":2: not three columns", id="two columns"),
        pytest.param("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\thigh", ":2: score", id="score in words"),
        pytest.param("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq9\td1\t1", "'q9' is not in queries", id="unknown query"),
        pytest.param("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t0", "no query has a relevant", id="nothing relevant"),
        pytest.param("queries.jsonl", '{"_id": "q1"}', ":1: text", id="query without text"),
    ],
)
def test_a_bad_beir_folder_is_named(tmp_path, file, text, words):
    (tmp_path / "qrels").mkdir()
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "heat"}\n', encoding="utf-8")
    (tmp_path / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n", encoding="utf-8")
    assert [(case.id, case.expected) for case in read_beir(tmp_path)] == [("q1", {"grades": {"d1": 1}})]
    (tmp_path / file).write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=r"\S") as caught:
        read_beir(tmp_path)
    assert words in str(caught.value)


def test_a_document_loses_no_word_when_cut():
    text = " ".join(f"Sentence number {n} speaks of heat, e.g. a warm bath. It is short!" for n in range(60))
    chunks = chunk_document(Document.model_validate({"_id": "d", "title": "Heat", "text": text}))
    assert len(chunks) > 1 and " ".join(chunk.text for chunk in chunks).split() == text.split()


def test_the_published_schemas_are_those_of_this_version():
    assert {path.name: json.loads(path.read_text(encoding="utf-8")) for path in PUBLISHED.iterdir()} == {
        f"{name}.schema.json": schema for name, schema in schemas().items()
    }


@pytest.mark.parametrize(
    ("format", "file"),
    [
        ("guardrail", "same-meaning.jsonl"),
        ("guardrail", "guardrail/test-languages.jsonl"),
        ("conversations", "guardrail/test-conversations.jsonl"),
        ("questions", "questions-dev.jsonl"),
        ("key-facts", "key-facts.jsonl"),
    ],
)
def test_data_fit_their_published_schema_and_a_line_without_id_does_not(format, file):
    validator = jsonschema.Draft202012Validator(schemas()[format])
    rows = [json.loads(line) for line in (DATA / file).read_text(encoding="utf-8").splitlines()]
    # Ids only: some of the messages are blind.
    assert [row["id"] for row in rows if not validator.is_valid(row)] == []
    assert not validator.is_valid({key: value for key, value in rows[0].items() if key != "id"})


@pytest.mark.parametrize("name", suite_names())
def test_each_suite_file_is_valid(name):
    assert read_suite(name).read_gates()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param("gates: [sensitivty >= 0.9]", "unknown metric 'sensitivty'", id="unknown metric"),
        pytest.param("gates: [sensitivity is good]", "not a gate", id="not a gate"),
        pytest.param("kind: magic", "kind", id="unknown kind"),
        pytest.param("color: red", "color", id="unknown key"),
        pytest.param("gates: [", "not YAML", id="not yaml"),
    ],
)
def test_a_bad_suite_file_is_named(tmp_path, change, words):
    path = tmp_path / "own.yaml"
    path.write_text(f"name: own\nkind: guardrail\ndata: [x.jsonl]\nwhy: to see that it fails\n{change}\n", encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        read_suite(str(path))
    assert words in str(caught.value) and str(caught.value).startswith(f"{path}:")


def test_a_gate_reads_values_and_interval_ends():
    assert read_gate("sensitivity >= 0.99").holds(0.99) and not read_gate("sensitivity >= 0.99").holds(0.989)
    assert read_gate("ndcg@10.low >= 0.7").part == "low"
