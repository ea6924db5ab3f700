"""The judging model, over real HTTP: its verdicts are kept, taken up after a failure, and held against the labelled pairs."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bot.settings import BadSetting, Settings
from evals.case import Case
from evals.judge import open_judge
from evals.kinds import MEASURES
from evals.run import Row, SuiteRun
from evals.suite import Suite
from evals.validate import read_pairs
from ingest.cli import BadInput


class FakeJudge:
    """Speaks the OpenAI protocol and knows the labels of the pairs; `says` may change its words, `status` break it."""

    def __init__(self) -> None:
        self.labels = {(pair.answer, pair.fact): pair.present for pair in read_pairs()}
        self.asked = 0
        self.status = 200
        self.says = lambda present: "YES" if present else "No."
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                outer.asked += 1
                prompt = json.loads(self.rfile.read(int(self.headers["content-length"])))["messages"][-1]["content"]
                answer, fact = (re.search(rf"<{tag}>\n(.*?)\n</{tag}>", prompt, re.DOTALL)[1] for tag in ("answer", "fact"))
                message = {"role": "assistant", "content": outer.says(outer.labels.get((answer, fact), fact in answer))}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                body = {"id": "x", "object": "chat.completion", "created": 0, "model": "fake", "choices": [choice]}
                data = json.dumps(body if outer.status == 200 else {"error": {"message": "no credit left"}}).encode()
                self.send_response(outer.status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def server():
    fake = FakeJudge()
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


@pytest.fixture
def judge(server, tmp_path):
    settings = Settings(index=tmp_path, llm_api_key="none")
    return lambda: open_judge("openai:fake", settings, base_url=server.url)


def test_a_verdict_is_asked_for_once(server, judge):
    pair = read_pairs("dev")[0]
    assert judge().states(pair.answer, pair.fact) is pair.present
    assert judge().states(pair.answer, pair.fact) is pair.present
    assert server.asked == 1


@pytest.mark.parametrize(
    ("said", "verdict"), [("YES", True), ("**No**, it does not", False), ("<think>yes?</think>\nNO", False), ("Perhaps", None), ("", None)]
)
def test_words_become_a_verdict_or_none(server, judge, said, verdict):
    server.says = lambda present: said
    assert judge().states("Heat helps.", "Heat helps") is verdict


def answers(*, facts: list[str], text: str) -> SuiteRun:
    reply = {"text": text, "outcome": "answered", "escalation": {"advice": ""}, "citations": []}
    observed = {"reply": reply, "passages": {}, "confidence": None, "retrieved": None}
    expected = {"kind": "answerable", "article": "a", "also": [], "quote": "q", "key_facts": facts, "must_not": []}
    case = Case("q1", {"messages": [{"role": "user", "content": "?"}]}, expected, {})
    suite = Suite(name="answers", kind="answers", data=["x.jsonl"], why="to try the judge")
    return SuiteRun(suite, [Row("k", case, observed, MEASURES["answers"].score(case, observed))])


@pytest.mark.model
def test_a_run_is_judged_and_the_judge_with_it(server, judge):
    run = answers(facts=["Heat helps", "Ice helps"], text="Heat helps. [1]")
    judge().add_scores(run)
    assert run.rows[0].scored.scores["judged_fact_recall"] == 0.5 and "judged_fact_recall" in run.metrics
    assert (run.trust[0].kappa, run.trust[0].pairs) == (1.0, len(read_pairs("held-out")))
    asked = server.asked
    # Another run of the same asks nothing.
    judge().add_scores(answers(facts=["Heat helps", "Ice helps"], text="Heat helps. [1]"))
    assert server.asked == asked
    server.says = lambda present: "NO"
    assert judge().states("new answer", "new fact") is False


@pytest.mark.model
def test_a_judge_that_always_agrees_is_seen_through(server, judge):
    server.says = lambda present: "YES"
    run = answers(facts=["Heat helps"], text="Heat helps. [1]")
    judge().add_scores(run)
    assert run.trust[0].kappa == pytest.approx(0.0) and run.trust[0].recall.value == 1.0


@pytest.mark.model
def test_what_a_failing_judge_said_before_is_kept(server, judge):
    pairs = read_pairs("held-out")
    for pair in pairs[:5]:
        judge().states(pair.answer, pair.fact)
    server.status = 400
    with pytest.raises(BadInput, match="--judge openai:fake: .*no credit left.*verdicts so far are kept"):
        judge().add_scores(answers(facts=["Heat helps"], text="Heat helps. [1]"))
    server.status, before = 200, server.asked
    judge().add_scores(answers(facts=["Heat helps"], text="Heat helps. [1]"))
    assert server.asked - before == len(pairs) - 5 + 1


@pytest.mark.parametrize("name", ["fake", "nobody:fake", "openai:"])
def test_a_judge_that_cannot_be_is_one_line(tmp_path, name):
    with pytest.raises(BadSetting) as caught:
        open_judge(name, Settings(index=tmp_path))
    assert "--judge" in str(caught.value) and "\n" not in str(caught.value)
