"""What goes wrong on a machine, done to it for real: killed, out of disk, damaged, stopped, crowded. The last good index keeps answering."""

import asyncio
import contextlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.testclient import TestClient

from bot.api import create_app
from bot.open import LiveRetriever
from bot.settings import Settings
from ingest.cli import ingest
from ingest.embed import DEFAULT_MODEL
from ingest.index import Index, IndexMissing, IndexUnwritable, Store
from tests.fake_llm import FakeModel

pytestmark = pytest.mark.model
ROUNDS = 20
SECTION = "heat#does-heat-help-a-sore-back/01"
COMMAND = str(Path(sys.executable).parent / "backtalk")
# A server process that has imported everything: a child of it starts in milliseconds, so that a kill hits the work and not the imports.
fork = multiprocessing.get_context("forkserver")
fork.set_forkserver_preload(["tests.preload"])


@pytest.fixture(autouse=True, scope="module")
def _our_tests_come_first():
    """The fork server starts with a path of its own, on which another package's `tests` would be found first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
        yield


def build(kb: Path, store: Store, **options):
    return ingest(kb, store, model=DEFAULT_MODEL, rebuild=options.get("rebuild", False), reviewed_only=False, quiet=True)[0]


def edit(kb: Path, name: str, old: str, new: str) -> None:
    path = kb / "articles" / f"{name}.md"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _ingest(kb: str, path: str, rebuild: bool) -> None:
    build(Path(kb), Store(Path(path)), rebuild=rebuild)


def test_an_ingest_killed_at_any_moment_leaves_a_whole_index(tiny_kb, store):
    first = build(tiny_kb, store)
    edit(tiny_kb, "heat", "some short relief", "brief relief")
    _whole_run(tiny_kb, store)
    started = time.monotonic()
    _whole_run(tiny_kb, store)
    usual_s = time.monotonic() - started
    dice, killed = random.Random(8), 0
    for number in range(ROUNDS):
        edit(tiny_kb, "help", "Get ", f"Get {number} ")
        process = fork.Process(target=_ingest, args=(str(tiny_kb), str(store.path), True))
        process.start()
        process.join(dice.uniform(0.0, 1.2) * usual_s)
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.join()
        index = Index(store)
        assert len(index.chunks) == 4 and index.build in store.builds()
        assert index.nearest(index.sentence_vectors([SECTION])[SECTION, 0][None, :], records=1)
    assert killed >= ROUNDS // 2, "too few of the kills hit"
    last = build(tiny_kb, store)
    assert Index(store).build == last.build != first.build
    assert sorted(path.name for path in (store.path / "builds").iterdir()) == store.builds(), "nothing half-built is left"


def _whole_run(kb: Path, store: Store) -> None:
    process = fork.Process(target=_ingest, args=(str(kb), str(store.path), True))
    process.start()
    process.join(120)
    assert process.exitcode == 0


def _starved(kb: str, path: str, limit: int, said_to: str) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        build(Path(kb), Store(Path(path)), rebuild=True)
    except IndexUnwritable as error:
        Path(said_to).write_text(str(error), encoding="utf-8")


# At 0 bytes not even the directory's first file can be written; at 100 kB Chroma's database breaks off in the middle.
@pytest.mark.parametrize("limit", [pytest.param(512, id="at-once"), pytest.param(100_000, id="midway")])
def test_a_full_disk_is_one_clear_line_and_the_old_index_stays(tiny_kb, store, tmp_path, limit):
    first = build(tiny_kb, store)
    edit(tiny_kb, "heat", "some short relief", "brief relief")
    process = fork.Process(target=_starved, args=(str(tiny_kb), str(store.path), limit, str(tmp_path / "said")))
    process.start()
    process.join(120)
    message = (tmp_path / "said").read_text(encoding="utf-8")
    assert "cannot be written" in message and message.endswith("the old one stays in use") and "\n" not in message
    assert Index(store).build == first.build and store.builds() == [first.build]
    assert os.listdir(store.path / "builds") == [first.build], "what was half-built is gone, its room with it"
    assert build(tiny_kb, store).changed == 1, "with room again, the next ingest completes"


def _garble(store: Store) -> None:
    path = store.path / "builds" / store.current() / "chroma" / "chroma.sqlite3"
    path.write_bytes(b"not a database" * 1000)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(_garble, id="garbled-database"),
        pytest.param(lambda store: shutil.rmtree(store.path / "builds"), id="builds-deleted"),
        pytest.param(lambda store: shutil.rmtree(store.path / "builds" / store.current() / "chroma"), id="collections-deleted"),
        pytest.param(lambda store: (store.path / "current").unlink(), id="pointer-deleted"),
        pytest.param(lambda store: (store.path / "current").write_text("nowhere", encoding="utf-8"), id="pointer-astray"),
    ],
)
def test_a_broken_index_is_a_503_but_a_red_flag_is_still_answered(tiny_kb, store, damage):
    build(tiny_kb, store)
    damage(store)
    with pytest.raises(IndexMissing, match="backtalk ingest"):
        Index(store)
    with TestClient(create_app(Settings(index=store.path)), raise_server_exceptions=False) as client:
        assert client.post("/api/chat", json={"messages": said("Does heat help a sore back?")}).status_code == 503
        advised = client.post("/api/chat", json={"messages": said("my back hurts and I have gone numb between my legs"), "region": "GB"})
        assert advised.status_code == 200 and advised.json()["escalation"]["level"] == "emergency" and "999" in advised.json()["text"]
        assert client.get("/readyz").status_code == 503
        build(tiny_kb, store, rebuild=True)
        assert client.post("/api/chat", json={"messages": said("Does heat help a sore back?")}).json()["outcome"] == "answered"


def test_a_reader_never_notices_an_ingest(tiny_kb, store):
    build(tiny_kb, store)
    live, stop, seen = LiveRetriever(Settings(index=store.path)), threading.Event(), set()

    def read() -> int:
        turns = 0
        while not stop.is_set():
            found = live().search("Does heat help a sore back?", top_k=2)
            seen.add(found[0].chunk.text)
            assert found[0].chunk.id == SECTION
            turns += 1
            time.sleep(0.01)
        return turns

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        try:
            for number in range(2):
                edit(tiny_kb, "heat", "A heat wrap gives", f"On day {number} a heat wrap gives" if not number else "Now a heat wrap gives")
                edit(tiny_kb, "help", "Get ", f"Get {number} ")
                process = fork.Process(target=_ingest, args=(str(tiny_kb), str(store.path), False))
                process.start()
                process.join(120)
                assert process.exitcode == 0
                live().search("heat", top_k=1)
        finally:
            stop.set()
        assert min(reader.result() for reader in readers) > 0
    assert len(seen) > 1, "the readers moved on to new builds"


def test_two_ingests_at_once_make_one_index(tiny_kb, store):
    build(tiny_kb, store)
    edit(tiny_kb, "heat", "some short relief", "brief relief")
    processes = [fork.Process(target=_ingest, args=(str(tiny_kb), str(store.path), True)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert 0 in {process.exitcode for process in processes}
    assert "brief relief" in Index(store).chunks[SECTION].text
    assert sorted(os.listdir(store.path / "builds")) == store.builds()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_ready(url: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"{url} did not come up")


def test_sigterm_lets_a_turn_under_way_finish(tiny_settings, tmp_path):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with FakeModel("stalls") as model:
        environment = {
            **os.environ,
            "BACKTALK_INDEX": str(tiny_settings.index),
            "BACKTALK_LLM": "openai:fake",
            "BACKTALK_LLM_BASE_URL": model.url,
            "BACKTALK_LLM_API_KEY": "none",
        }
        process = subprocess.Popen([COMMAND, "serve", "--port", str(port)], env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL)
        try:
            wait_ready(url)
            asked = len(model.asked)
            with ThreadPoolExecutor(1) as pool:
                body = {"messages": said("Does heat help a sore back?")}
                pending = pool.submit(httpx.post, f"{url}/api/chat", json=body, timeout=60)
                while len(model.asked) == asked and not pending.done():
                    time.sleep(0.05)
                assert not pending.done(), pending.result().text
                process.send_signal(signal.SIGTERM)
                time.sleep(0.5)
                with pytest.raises(httpx.ConnectError):
                    httpx.get(f"{url}/healthz", timeout=5)
                reply = pending.result()
            assert reply.status_code == 200 and reply.json()["citations"]
            assert process.wait(30) in (0, -signal.SIGTERM)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


@pytest.fixture(scope="module")
def crowd_server(tiny_settings):
    """The address of the application under uvicorn in this process, with no limit on calls."""
    port = free_port()
    app = create_app(tiny_settings)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_ready(f"http://127.0.0.1:{port}")
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(30)


def test_200_clients_at_once_each_get_their_own_reply(crowd_server):
    texts = [
        "Does heat help a sore back?",
        "Is walking good for a sore back?",
        "When should I get help?",
        "hello",
        "thank you",
        "my back hurts and I have gone numb between my legs",
        "I fell off a ladder and my spine is very painful",
        "I have a fever and my back hurts at night",
        "who won the football",
        "me duele mucho la espalda",
    ]
    bodies = [{"messages": said(text), "region": region} for text in texts for region in ("GB", "US", "AU", "IN")]
    url = f"{crowd_server}/api/chat"

    def what_counts(response: httpx.Response) -> str:
        assert response.status_code == 200, response.text
        return json.dumps({key: value for key, value in response.json().items() if key != "timings_ms"}, sort_keys=True)

    with httpx.Client(timeout=120) as client:
        alone = [what_counts(client.post(url, json=body)) for body in bodies]
    assert len(set(alone)) >= 20, "the replies tell the conversations apart"

    async def everyone() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(timeout=120, limits=limits) as client:
            return await asyncio.gather(*(client.post(url, json=bodies[n % len(bodies)]) for n in range(200)))

    # In a thread of its own: after the browser tests, Playwright's event loop still runs in this one.
    with ThreadPoolExecutor(1) as aside:
        replies = aside.submit(asyncio.run, everyone()).result()
    for number, response in enumerate(replies):
        assert what_counts(response) == alone[number % len(bodies)], bodies[number % len(bodies)]


def test_clients_that_never_finish_their_request_hold_up_nobody(crowd_server):
    address = crowd_server.removeprefix("http://").split(":")
    with contextlib.ExitStack() as open_ones:
        for begun in (
            b"POST /api/chat HTTP/1.1\r\nhost: x\r\ncontent-le",
            b"POST /api/chat HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\n{",
        ):
            for _ in range(100):
                client = open_ones.enter_context(socket.create_connection((address[0], int(address[1]))))
                client.sendall(begun)
        started = time.monotonic()
        assert httpx.post(f"{crowd_server}/api/chat", json={"messages": said("hello")}, timeout=60).status_code == 200
        assert time.monotonic() - started < 5


def test_a_conversation_may_change_process_between_turns(tiny_settings):
    """Two applications that share nothing but the index, as behind a load balancer."""
    with TestClient(create_app(tiny_settings)) as one, TestClient(create_app(tiny_settings)) as other:
        told = said("my back hurts and I have gone numb between my legs")
        first = one.post("/api/chat", json={"messages": told, "region": "GB"}).json()
        going_on = [*told, {"role": "assistant", "content": first["text"]}, *said("Does heat help a sore back?")]
        replies = [client.post("/api/chat", json={"messages": going_on, "region": "GB"}).json() for client in (one, other)]
    assert [reply["escalation"]["level"] for reply in replies] == ["emergency", "emergency"]
    assert replies[0]["text"] == replies[1]["text"]


def test_memory_stays_flat_over_many_turns(tiny_settings):
    from evals.bench_memory import memory_curve

    curve = memory_curve(tiny_settings, turns=300, points=4)
    settled, last = curve[1][1], curve[-1][1]
    assert last - settled < 15, f"MB resident by turn: {curve}"
