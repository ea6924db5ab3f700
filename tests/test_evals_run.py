"""Runs are kept, resumed, compared, blessed and held to what was blessed; the command says so in one line and in its status."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from bot.guardrail import check
from bot.settings import Settings
from bot.turn import FlagFound, Verdict
from evals import baseline as baselines
from evals.baseline import bless, read_baseline
from evals.compare import compare_runs
from evals.session import evaluate
from evals.suite import Suite
from ingest.cli import BadInput

COMMAND = str(Path(sys.executable).parent / "backtalk")
LEVELS = {"emergency": 12, "urgent": 8, "none": 20}


def by_its_words(messages):
    """Stand in for the guardrail: the first word of a message is the level that it gets."""
    level = messages[-1].content.split()[0]
    return Verdict(level, (FlagFound(code="other", evidence="x", turn=0),) if level != "none" else ())


@pytest.fixture
def data(tmp_path) -> Path:
    rows = [
        {"id": f"{level}-{n}", "text": f"{level} <b>{n}</b>", "expect": level, "kind": "ab"[n % 2]}
        for level, count in LEVELS.items()
        for n in range(count)
    ]
    path = tmp_path / "cases.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


@pytest.fixture
def measure(data, tmp_path, monkeypatch):
    """Run the guardrail suite with a stand-in for the guardrail; `change` maps a message to its level instead."""

    def run(name: str, change=None, **options):
        monkeypatch.setattr(check, "check_message", lambda m: by_its_words(m) if change is None else Verdict(change(m[-1].content)))
        suite = Suite(name="guardrail", kind="guardrail", data=[data], why="to try the runner", gates=["sensitivity >= 0.9"])
        return evaluate([suite], Settings(index=tmp_path / "none"), folder=tmp_path / name, own_data=True, **options)

    return run


def missing(*texts: str):
    return lambda text: "none" if any(text.startswith(start) for start in texts) else text.split()[0]


def test_a_run_writes_all_its_files(measure, tmp_path):
    done = measure("a", missing("emergency <b>3<"))
    part = json.loads((tmp_path / "a/summary.json").read_text(encoding="utf-8"))["suites"][0]
    assert part == json.loads(json.dumps(done.summary["suites"][0]))
    assert (part["suite"], part["n"], part["passed"], part["failed_cases"]) == ("guardrail", 40, True, ["emergency-3"])
    assert part["metrics"]["sensitivity"] == pytest.approx({"value": 0.95, "low": 0.7513, "high": 0.9987, "n": 20}, abs=1e-4)
    assert part["rivals"]["always escalate"]["specificity"]["value"] == part["rivals"]["never escalate"]["sensitivity"]["value"] == 0.0
    assert part["slices"]["kind"]["b"]["sensitivity"]["value"] == 0.9
    assert {"level", "kind"} == part["slices"].keys()
    rows = [json.loads(line) for line in (tmp_path / "a/results.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in rows][:2] == ["emergency-0", "emergency-1"] and len(rows) == 40
    assert not rows[3]["passed"] and rows[3]["got"] == "none" and rows[3]["why"].startswith("missed")
    config = json.loads((tmp_path / "a/run.json").read_text(encoding="utf-8"))["config"]
    assert config.keys() >= {"commit", "code", "index", "embedding_model", "llm"}
    junit = ElementTree.parse(tmp_path / "a/junit.xml").getroot()
    assert junit.find("testsuite").get("tests") == "41" and junit.find("testsuite").get("failures") == "0"


def test_the_report_stands_alone_and_escapes_what_people_write(measure, tmp_path):
    measure("a", missing("emergency <b>3<"))
    html = (tmp_path / "a/report.html").read_text(encoding="utf-8")
    assert "emergency &lt;b&gt;3&lt;/b&gt;" in html and "<b>3</b>" not in html
    assert "missed: a red flag" in html and "sensitivity" in html
    # Passed cases are there too, to be found by outcome, slice or words.
    assert html.count('data-outcome="failed"') == 1 and html.count('data-outcome="passed"') == 39
    assert '<select data-slice="kind">' in html and "kind=a" in html
    assert not any(f'{name}="' in html for name in ("src", "srcset")) and "http" not in html and "@import" not in html


def test_the_same_bot_gives_the_same_numbers(measure):
    first, second = measure("a", jobs=1), measure("b", jobs=4)
    for part in (first.summary["suites"][0], second.summary["suites"][0]):
        part.pop("seconds")
    assert first.summary["suites"] == second.summary["suites"]


def test_an_interrupted_run_is_taken_up(measure, tmp_path):
    asked = []

    def interrupt(text):
        asked.append(text)
        if len(asked) == 15:
            raise KeyboardInterrupt
        return text.split()[0]

    with pytest.raises(KeyboardInterrupt):
        measure("a", interrupt)
    kept = [line for line in (tmp_path / "a/results.jsonl").read_text(encoding="utf-8").splitlines() if line]
    assert 0 < len(kept) < 40
    # A line cut off in the middle is asked anew.
    (tmp_path / "a/results.jsonl").write_text("\n".join([*kept[:-1], kept[-1][:20]]), encoding="utf-8")
    before = len(asked)
    done = measure("a", lambda text: asked.append(text) or text.split()[0])
    assert len(asked) - before == 40 - (len(kept) - 1)
    assert done.summary["suites"][0]["n"] == 40 and done.failures == []


def test_a_finished_run_is_not_taken_over(measure):
    measure("a")
    assert measure("a", lambda text: "none").failures


def test_a_finished_run_is_scored_again_without_the_bot(measure, data):
    measure("a", missing("urgent"))

    def never(text):
        raise AssertionError("the bot was asked")

    # Four labels are set right; the observations stay.
    data.write_text(
        data.read_text(encoding="utf-8").replace('"expect": "urgent", "kind": "a"', '"expect": "none", "kind": "a"'), encoding="utf-8"
    )
    part = measure("a", never, rescore=True).summary["suites"][0]
    assert (part["n"], part["metrics"]["sensitivity"]["value"]) == (40, 0.75)
    data.write_text(data.read_text(encoding="utf-8").replace("none <b>0", "none <b>zero"), encoding="utf-8")
    with pytest.raises(BadInput, match="did not observe case 'none-0'"):
        measure("a", never, rescore=True)


def test_a_failed_gate_names_its_cases(measure):
    assert measure("a", missing("urgent")).failures == [
        "guardrail: sensitivity >= 0.9: is 0.6000; first: urgent-0, urgent-1, urgent-2, urgent-3, urgent-4 and 3 more"
    ]


def test_compare_shows_flips_losses_first(measure, tmp_path):
    measure("a", missing("emergency <b>3<"))
    measure("b", missing("urgent"))
    part = compare_runs(tmp_path / "a", tmp_path / "b")[0]
    assert [flip.id for flip in part.flips] == [*(f"urgent-{n}" for n in range(8)), "emergency-3"]
    assert [flip.won for flip in part.flips] == [False] * 8 + [True]
    change = part.differences["sensitivity"]
    # 8 lost, 1 won: p = 2 * (1 + 9) / 2**9.
    assert (change.change, change.p) == pytest.approx((-0.35, 20 / 512))


@pytest.fixture
def blessed(measure, tmp_path, monkeypatch):
    monkeypatch.setattr(baselines, "BASELINES", tmp_path / "baselines")
    measure("good", missing("emergency <b>3<"))
    return bless("guardrail", "the first numbers", tmp_path / "good").path


def test_a_blessed_run_passes_beside_itself(measure, blessed):
    assert read_baseline(blessed).why == "the first numbers"
    assert measure("a", missing("emergency <b>3<"), baseline=blessed).failures == []


def test_one_lost_red_flag_fails_whatever_the_average(measure, blessed):
    # One is won and one lost, so sensitivity itself is what it was.
    lines = measure("a", missing("urgent <b>1<"), baseline=blessed).failures
    assert lines == ["guardrail: baseline: sensitivity: 1 red flags that were caught are missed; first: urgent-1"]


def test_a_drop_fails_only_beyond_tolerance_and_chance(measure, blessed):
    def alarm(count):
        return lambda text: "urgent" if text in [f"none <b>{n}</b>" for n in range(count)] else missing("emergency <b>3<")(text)

    assert measure("a", alarm(3), baseline=blessed).failures == []
    assert any("specificity: 1.0000 then, 0.5000 now" in line for line in measure("b", alarm(10), baseline=blessed).failures)


def test_a_case_of_the_baseline_may_not_go_missing(measure, blessed, data):
    data.write_text("\n".join(data.read_text(encoding="utf-8").splitlines()[1:]), encoding="utf-8")
    lines = measure("a", missing("emergency <b>3<"), baseline=blessed).failures
    assert lines == ["guardrail: baseline: 1 of its cases are not in the data; first: emergency-0"]


def test_another_suites_baseline_is_refused(measure, blessed):
    blessed.write_text(blessed.read_text(encoding="utf-8").replace('"suite": "guardrail"', '"suite": "answers"'), encoding="utf-8")
    with pytest.raises(BadInput, match="of suite 'answers', not of 'guardrail'"):
        measure("a", baseline=blessed)


@pytest.fixture(scope="module")
def backtalk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cwd")

    def call(*args: str):
        env = {**os.environ, "BACKTALK_INDEX": str(folder / "none")}
        return subprocess.run([COMMAND, "eval", *args], cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)

    return call


@pytest.mark.parametrize(
    ("args", "words"),
    [
        pytest.param(["nonsense"], "no such suite", id="unknown suite"),
        pytest.param(["guardrail", "--data", "absent.jsonl"], "absent.jsonl: no such file", id="no data"),
        pytest.param(["guardrail", "conversations", "--data", "x"], "name the one suite", id="data for two"),
        pytest.param(["guardrail", "guardrail"], "named twice", id="twice"),
        pytest.param(["compare", "a", "b"], "no readable run", id="no run"),
        pytest.param(["bless", "guardrail", "--why", " "], "--why", id="no reason"),
    ],
)
def test_misuse_is_one_line_and_status_2(backtalk, args, words):
    done = backtalk(*args)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and words in done.stderr, done.stderr


@pytest.mark.model
def test_json_is_as_the_contract_says(backtalk, tmp_path):
    path = tmp_path / "own.jsonl"
    rows = [
        {"id": "a", "text": "I can't feel myself wipe and my back hurts", "expect": "emergency"},
        {"id": "b", "text": "Heat or ice?", "expect": "emergency"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    done = backtalk("guardrail", "--data", str(path), "--out", str(tmp_path / "run"), "--json")
    assert done.returncode == 1 and "sensitivity >= " in done.stderr and "first: b" in done.stderr, done.stderr
    part = json.loads(done.stdout)["suites"][0]
    assert (part["suite"], part["n"], part["passed"]) == ("guardrail", 2, False)
    assert part["metrics"]["sensitivity"].keys() == {"value", "low", "high", "n"} and part["metrics"]["sensitivity"]["value"] == 0.5
