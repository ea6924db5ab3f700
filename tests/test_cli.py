import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.model
COMMAND = str(Path(sys.executable).parent / "backtalk")


@pytest.fixture(scope="session")
def run(bot_settings, tmp_path_factory):
    """Run `backtalk` as a person would, over the real index; returns the finished process."""
    folder = tmp_path_factory.mktemp("cwd")

    def call(*args: str, **environment: str):
        env = {**os.environ, "BACKTALK_INDEX": str(bot_settings.index), **environment}
        return subprocess.run([COMMAND, *args], cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)

    return call


def one_line(process, status: int, *parts: str) -> None:
    assert process.returncode == status, process.stderr
    assert process.stderr.count("\n") == 1 and "Traceback" not in process.stderr, process.stderr
    assert all(part in process.stderr for part in parts), process.stderr


def test_ask_prints_an_answer_with_its_sources(run):
    done = run("ask", "Is running bad for my back?")
    assert done.returncode == 0
    assert "[1]" in done.stdout and "Sources" in done.stdout and "http" in done.stdout


def test_ask_json_is_one_reply(run):
    reply = json.loads(run("ask", "I can't feel myself wipe", "--json", "--region", "AU").stdout)
    assert reply["outcome"] == "escalated" and reply["escalation"]["level"] == "emergency" and "000" in reply["text"]
    assert set(reply) >= {"text", "outcome", "escalation", "citations", "follow_ups", "model", "timings_ms"}
    assert set(reply["timings_ms"]) >= {"guardrail", "retrieve", "answer", "total"}


def test_search_json_is_best_first(run):
    rows = json.loads(run("search", "painkillers before a race", "-k", "4", "--json").stdout)
    assert len(rows) == 4 and set(rows[0]) == {"chunk_id", "article_id", "score", "text"}
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)


def test_batch_keeps_order_and_names_bad_lines(run, tmp_path):
    lines = [
        {"id": "a", "messages": [{"role": "user", "content": "Heat or ice?"}]},
        {"id": "b", "messages": []},
        {"id": "c", "messages": [{"role": "user", "content": "I can't feel myself wipe"}], "region": "US"},
        {"id": "d", "messages": [{"role": "king", "content": "x"}]},
    ]
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("\n".join([*map(json.dumps, lines), "not json"]), encoding="utf-8")
    done = run("batch", str(source), str(target))
    out = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert done.returncode == 1 and "3 of 5 lines" in done.stderr
    assert [row["id"] for row in out] == ["a", "b", "c", "d", None]
    assert "911" in out[2]["reply"]["text"]
    assert "line 2: messages" in out[1]["error"] and "role" in out[3]["error"] and "line 5" in out[4]["error"]


def test_chat_talks_until_an_empty_line(bot_settings, tmp_path):
    done = subprocess.run(
        [COMMAND, "chat", "--index", str(bot_settings.index)],
        cwd=tmp_path,
        input="hello\nHeat or ice?\n\n",
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "checked articles" in done.stdout and "[1]" in done.stdout


@pytest.mark.parametrize(
    ("args", "environment", "parts"),
    [
        pytest.param(["ask", ""], {}, ["the question is empty"], id="empty"),
        pytest.param(["ask", "   "], {}, ["the question is empty"], id="blank"),
        pytest.param(["ask", "x" * 100_000], {}, ["100000 characters"], id="too-long"),
        pytest.param(
            ["ask", "hi there my back"], {"BACKTALK_INDEX": "/nonexistent/store"}, ["no index here", "backtalk ingest"], id="no-index"
        ),
        pytest.param(["ask", "hi"], {"BACKTALK_COLOUR": "red"}, ["BACKTALK_COLOUR: no such setting"], id="unknown-setting"),
        pytest.param(
            ["ask", "Is running bad for my back?"], {"BACKTALK_EMBEDDING_MODEL": "other"}, ["built with", "'other'"], id="other-model"
        ),
        pytest.param(["ask", "hi"], {"BACKTALK_LLM": "nonsense"}, ["BACKTALK_LLM", "not provider:model"], id="bad-llm"),
        pytest.param(["ask", "hi"], {"BACKTALK_LLM_TIMEOUT_S": "soon"}, ["BACKTALK_LLM_TIMEOUT_S"], id="bad-number"),
        pytest.param(["check", "--kb", "/nonexistent"], {}, ["/nonexistent/articles: no such folder"], id="no-kb"),
        pytest.param(["ingest", "--kb", "/nonexistent"], {}, ["/nonexistent/articles: no such folder"], id="ingest-no-kb"),
        pytest.param(["batch", "/nonexistent.jsonl", "out"], {}, ["/nonexistent.jsonl: cannot be read"], id="no-batch-file"),
    ],
)
def test_bad_input_is_one_line_and_status_2(run, args, environment, parts):
    one_line(run(*args, **environment), 2, *parts)


def test_control_characters_do_no_harm(run):
    assert run("ask", "is \x07running\x1b[31m bad for my back?\x08").returncode == 0


def test_a_port_in_use_is_one_line(run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        one_line(run("serve", "--port", str(taken.getsockname()[1])), 2, "cannot listen there")


def test_check_prints_problems_and_status_1(run, tiny_kb):
    path = tiny_kb / "articles" / "heat.md"
    path.write_text(path.read_text(encoding="utf-8").replace(" [@heat-2006].", ".", 1), encoding="utf-8")
    done = run("check", "--kb", str(tiny_kb))
    assert done.returncode == 1
    assert "articles/heat.md:19: uncited claim" in done.stdout
    assert json.loads(run("check", "--kb", str(tiny_kb), "--json").stdout)["refused"] == 1


def test_ingest_reports_counts(run, tiny_kb, store):
    done = run("ingest", "--kb", str(tiny_kb), "--index", str(store.path), "--json")
    first = json.loads(done.stdout)
    assert (done.returncode, first["documents"], first["added"]) == (0, 3, 4)
    again = run("ingest", "--kb", str(tiny_kb), "--index", str(store.path))
    assert "0 added, 0 changed, 0 removed, 4 unchanged" in again.stdout
    assert again.stderr == "", "no progress bar in a pipe"
