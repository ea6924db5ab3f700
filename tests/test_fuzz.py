"""What nobody would send: any text, any conversation, any body. No error of ours, no hang, and the shape always holds."""

import json
import time

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from bot.api import create_app
from bot.chain import Chain
from bot.open import LiveRetriever
from bot.turn import MAX_CHARACTERS, Message, Reply

pytestmark = pytest.mark.model
LIMIT_S = 5.0
"""Of processor time, for each message that is read: on a busy machine the clock on the wall measures the neighbours."""
RELAXED = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
FRAGMENTS = [
    "my back hurts", "numb between my legs", "I can't pee", "no fever", "chest pain", "is running bad?", "and can I rest?", "or should I walk", "[1]", "[@key]", "{region}", "%s",
    "\u202e", "\u200b", "\x00", "ﬀ", "а", "ＮＵＭＢ", "<script>", "```", "\n\n---\n\n", "' OR 1=1 --", "../../etc/passwd", "(((((", "aaaa ", "😀",
]  # fmt: skip
TEXT = st.one_of(
    st.text(min_size=1, max_size=400),
    st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=30).map(" ".join),
    st.builds(lambda piece, n: (piece * n)[:MAX_CHARACTERS], st.sampled_from(FRAGMENTS), st.integers(1, MAX_CHARACTERS)),
).filter(lambda text: bool(text.strip()))
TURNS = st.lists(st.tuples(st.sampled_from(["user", "assistant"]), TEXT), max_size=6)


@pytest.fixture(scope="module")
def chain(tiny_settings) -> Chain:
    return Chain(LiveRetriever(tiny_settings), region="GB")


@pytest.fixture(scope="module")
def client(tiny_settings):
    with TestClient(create_app(tiny_settings), raise_server_exceptions=False) as client:
        yield client


def holds(reply: Reply) -> None:
    """What is true of every reply, whatever was asked."""
    assert reply.text.strip()
    assert reply.outcome != "error"
    assert (reply.escalation.level == "none") == (not reply.escalation.advice)
    if reply.escalation.level != "none":
        assert reply.outcome == "escalated" and reply.text.startswith(reply.escalation.advice)
    assert all(f"[{citation.n}]" in reply.text for citation in reply.citations)


@RELAXED
@given(turns=TURNS, last=TEXT, region=st.one_of(st.none(), st.text(max_size=8)))
def test_any_conversation_gets_a_reply_in_time(chain, turns, last, region):
    messages = [Message.model_construct(role=role, content=text) for role, text in [*turns, ("user", last)]]
    started = time.process_time()
    holds(chain.respond(messages, region=region))
    assert time.process_time() - started < LIMIT_S * len(messages)


@RELAXED
@given(
    body=st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(["messages", "role", "content", "stream", "region", "model", "x"]), inner, max_size=4)
        ),
        max_leaves=12,
    )
)
def test_any_json_is_answered_or_refused_in_our_shape(client, body):
    for path in ("/api/chat", "/v1/chat/completions", "/api/feedback"):
        response = client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
        assert response.status_code in (200, 201, 400, 413, 422), response.text
        if response.status_code >= 400:
            assert set(response.json()) == {"error"}


@RELAXED
@given(name=st.text(min_size=1, max_size=60))
def test_no_article_id_reaches_a_file(client, name):
    for path in (name, f"../{name}", "..%2f..%2fetc%2fpasswd", name + "%00"):
        response = client.get(f"/kb/{path.encode('utf-8', 'ignore').hex() if not path.isprintable() else path}")
        assert response.status_code < 500 and "root:" not in response.text


@pytest.mark.parametrize(
    "content",
    [pytest.param(rb"\ud83e", id="half-a-character"), pytest.param(rb"a\u0000b", id="nul"), pytest.param(b"\xff\xfe", id="not-utf-8")],
)
def test_text_that_is_no_text_is_no_error_of_ours(client, content):
    body = b'{"messages": [{"role": "user", "content": "' + content + b'"}]}'
    for path in ("/api/chat", "/v1/chat/completions"):
        response = client.post(path, content=body, headers={"content-type": "application/json"})
        assert response.status_code in (200, 400, 422), response.text


@pytest.fixture(scope="module")
def operations(client) -> list:
    """Every operation of the API, as schemathesis reads its description."""
    schema = schemathesis.openapi.from_dict(client.app.openapi())
    return [result.ok() for result in schema.get_all_operations()]


@settings(RELAXED, max_examples=12)
@given(data=st.data())
def test_no_request_that_the_schema_allows_is_an_error_of_ours(client, operations, data):
    assert len(operations) >= 8
    for operation in operations:
        case = data.draw(operation.as_strategy())
        request = case.as_transport_kwargs(base_url="http://testserver")
        started = time.process_time()
        response = client.request(**{key: value for key, value in request.items() if key != "cookies"})
        assert time.process_time() - started < LIMIT_S
        assert response.status_code < 500, f"{case.method} {case.formatted_path}: {response.text[:300]}"
