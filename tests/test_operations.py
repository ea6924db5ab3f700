"""What an operator sees: traces, log lines, numbers, container files. Never a word of what was said."""

import json
import logging
import re
from pathlib import Path

import pytest
import yaml
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from bot.chain import Chain
from bot.logs import JsonLines, start_logging
from bot.metrics import Metrics
from bot.trace import StepTracer, is_wanted
from bot.turn import Message, Reply
from ingest.index import IndexMissing

ROOT = Path(__file__).parent.parent
SECRET = "zebra-crossing-7341"
STEPS = ["guard", "look_up", "answer", "cite", "guard_reply", "finish"]


def no_index():
    raise IndexMissing("no index here")


def broken():
    raise RuntimeError(f"a library that quotes the message: {SECRET}")


def traced(open_retriever) -> tuple[Reply, list]:
    """One turn with a tracer; returns the reply and the finished spans."""
    memory = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    chain = Chain(open_retriever, region="GB")
    chain.line = chain.line.with_config(callbacks=[StepTracer(provider.get_tracer("test"))])
    reply = chain.respond([Message(role="user", content=f"Does heat help a sore back? {SECRET}")])
    return reply, list(memory.get_finished_spans())


def test_each_step_is_a_span_below_its_turn():
    reply, spans = traced(no_index)
    turn = next(span for span in spans if span.name == "turn")
    steps = [span for span in spans if span.parent and span.parent.span_id == turn.context.span_id]
    assert [span.name for span in steps] == STEPS
    assert turn.attributes["backtalk.outcome"] == reply.outcome == "error"
    assert SECRET not in "".join(span.to_json() for span in spans)


def test_a_failed_step_is_marked_without_its_words():
    _, spans = traced(broken)
    failed = {span.name for span in spans if span.status.status_code is StatusCode.ERROR}
    assert failed == {"turn", "look_up"}
    assert SECRET not in "".join(span.to_json() for span in spans)


def test_tracing_is_off_unless_a_collector_is_named(monkeypatch):
    assert not is_wanted()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317")
    assert is_wanted()


def test_a_turn_is_one_json_line_without_words(capsys):
    start_logging("info")
    try:
        reply, _ = traced(broken)
        Metrics().count(reply)
    finally:
        for name in ("bot", "ingest"):
            logging.getLogger(name).handlers, logging.getLogger(name).propagate = [], True
            logging.getLogger(name).setLevel(logging.NOTSET)
    printed = capsys.readouterr().err
    lines = [json.loads(line) for line in printed.splitlines()]
    turn = next(line for line in lines if line["message"] == "turn")
    assert turn["outcome"] == "error" and turn["level"] == "none" and turn["ms"] > 0
    failure = next(line for line in lines if line.get("error"))
    assert failure["error"] == "RuntimeError" and "test_operations.py" in failure["at"]
    assert SECRET not in printed


def test_a_forged_line_stays_one_line():
    record = logging.LogRecord("bot", logging.INFO, "", 0, 'x\n{"severity": "info"}', (), None)
    assert "\n" not in JsonLines().format(record)


def test_the_dashboard_asks_for_metrics_that_exist():
    dashboard = json.loads((ROOT / "docs" / "dashboard.json").read_text(encoding="utf-8"))
    asked = {name for panel in dashboard["panels"] for t in panel["targets"] for name in re.findall(r"(?:backtalk|process)_\w+", t["expr"])}
    metrics = Metrics()
    metrics.turns.labels("answered").inc()
    metrics.escalations.labels("fracture", "urgent").inc()
    metrics.seconds.labels("total").observe(0.1)
    known = {sample.name for family in metrics.registry.collect() for sample in family.samples}
    assert asked <= known
    assert {"backtalk_turns_total", "backtalk_escalations_total", "backtalk_guardrail_failures_total"} <= asked


def test_the_image_runs_without_rights_and_with_a_health_check():
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    words = [line.split() for line in lines]
    assert any(w[:1] == ["USER"] and w[1] != "0" for w in words)
    assert any(line.startswith("HEALTHCHECK") for line in lines) and "/readyz" in "\n".join(lines)
    copied = [name for w in words if w[:1] == ["COPY"] and not w[1].startswith("--") for name in w[1:-1]]
    assert copied and all((ROOT / name).exists() for name in copied)


def test_compose_keeps_the_bot_read_only_and_chroma_inside():
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    bot, chroma = compose["services"]["bot"], compose["services"]["chroma"]
    assert bot["read_only"] is True and bot["cap_drop"] == ["ALL"]
    assert "ports" not in chroma, "Chroma has no login"
    pinned = re.search(r"^chromadb==(.+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert chroma["image"] == f"chromadb/chroma:{pinned[1]}"
    assert bot["environment"]["BACKTALK_CHROMA_URL"] == "http://chroma:8000"


@pytest.mark.parametrize("name", ["pickle", "dill", "joblib", "marshal", "shelve"])
def test_nothing_of_ours_reads_code_from_data(name):
    for folder in ("kb", "ingest", "bot", "evals"):
        for path in (ROOT / folder).rglob("*.py"):
            if "training" not in path.parts:
                text = path.read_text(encoding="utf-8")
                assert f"import {name}" not in text and "yaml.load(" not in text.replace("yaml.load(text, Loader=SAFE_LOADER)", ""), path
