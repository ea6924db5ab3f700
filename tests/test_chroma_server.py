"""The same code on Chroma's own server, a real one: the same collections, the pointer shared by replicas, and the server gone and back."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from bot.api import create_app
from bot.open import LiveRetriever
from bot.settings import BadSetting, Settings, read_settings
from ingest.cli import ingest, list_builds, prune_builds, use_build
from ingest.embed import DEFAULT_MODEL
from ingest.index import PASSAGES, SENTENCES, Index, IndexMissing, IndexUnreachable, Store

pytestmark = pytest.mark.model
SECTION = "heat#does-heat-help-a-sore-back/01"
QUESTION = {"messages": [{"role": "user", "content": "Does heat help a sore back?"}], "region": "GB"}
RED_FLAG = {"messages": [{"role": "user", "content": "my back hurts and I have gone numb between my legs"}], "region": "GB"}


class ChromaServer:
    """`chroma run` on a free port over a folder; it can be stopped and started again in the same place."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        command = [str(Path(sys.executable).parent / "chroma"), "run", "--path", str(self.folder), "--port", str(self.port)]
        self.process = subprocess.Popen([*command, "--host", "127.0.0.1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.url}/api/v2/heartbeat", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        pytest.fail("chroma run did not come up")

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait(20)
            self.process = None


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    chroma = ChromaServer(tmp_path_factory.mktemp("chroma"))
    chroma.start()
    yield chroma
    chroma.stop()


@pytest.fixture
def shared(server, store, request):
    """A store on the server, in a database of this test's own, with a folder of this machine's own."""
    import chromadb

    name = "".join(c for c in request.node.name if c.isalnum())[:40]
    chromadb.AdminClient(
        chromadb.Settings(
            chroma_api_impl="chromadb.api.fastapi.FastAPI",
            chroma_server_host="127.0.0.1",
            chroma_server_http_port=server.port,
            anonymized_telemetry=False,
        )
    ).create_database(name)
    return Store(store.path, url=f"{server.url}/default_tenant/{name}")


def build(kb: Path, store: Store):
    return ingest(kb, store, model=DEFAULT_MODEL, rebuild=False, reviewed_only=False, quiet=True)[0]


def edit(kb: Path, old: str, new: str) -> None:
    path = kb / "articles" / "heat.md"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")


def replica(store: Store, folder: Path) -> Settings:
    """Settings of a bot on another machine: the same server, a folder of its own."""
    (folder / "models").mkdir(parents=True)
    for file in store.models.iterdir():
        os.link(file, folder / "models" / file.name)
    return Settings(index=folder, chroma_url=store.url)


def rows(store: Store, name: str) -> dict[str, tuple]:
    build_id = store.current()
    with store.client(build_id) as client:
        found = client.get_collection(store.collection_name(build_id, name), embedding_function=None).get(
            include=["embeddings", "documents", "metadatas"]
        )
    columns = zip(found["ids"], found["documents"], found["metadatas"], found["embeddings"], strict=True)
    return {row_id: (document, metadata, vector) for row_id, document, metadata, vector in columns}


def test_the_server_holds_the_same_rows_as_the_embedded_index(tiny_kb, store, shared):
    build(tiny_kb, Store(store.path))
    (store.path / "vetted.json").unlink()
    build(tiny_kb, shared)
    for name in (PASSAGES, SENTENCES):
        here, there = rows(Store(store.path), name), rows(shared, name)
        assert here.keys() == there.keys()
        assert all(here[i][:2] == there[i][:2] for i in here)
        assert max(np.abs(here[i][2] - there[i][2]).max() for i in here) < 1e-6
    assert list(Index(shared).chunks) == list(Index(Store(store.path)).chunks)


def test_replicas_follow_the_pointer_forward_and_back(tiny_kb, shared, tmp_path, capsys):
    old = build(tiny_kb, shared)
    assert (old.added, build(tiny_kb, shared).embedded) == (4, 0)
    bot = LiveRetriever(replica(shared, tmp_path / "elsewhere"))
    assert "some short relief" in bot().index.chunks[SECTION].text
    edit(tiny_kb, "some short relief", "brief relief")
    new = build(tiny_kb, shared)
    assert (new.changed, new.embedded) == (1, 2), "unchanged texts keep their vectors"
    time.sleep(1.1)
    assert "brief relief" in bot().index.chunks[SECTION].text
    use_build(shared, old.build)
    time.sleep(1.1)
    assert "some short relief" in bot().index.chunks[SECTION].text
    list_builds(shared, as_json=False)
    assert f"* {old.build}" in capsys.readouterr().out
    prune_builds(shared, keep=0)
    assert shared.builds() == [old.build]
    with pytest.raises(IndexMissing, match="not a readable index manifest"):
        shared.manifest(new.build)


def test_what_an_interrupted_ingest_left_goes_after_a_day_and_not_before(tiny_kb, shared):
    live = build(tiny_kb, shared)
    with shared.client("") as client:
        client.create_collection("20200101t000000000000-left-passages", embedding_function=None)
        young = f"{live.build.partition('-')[0]}-atwork"
        client.create_collection(f"{young}-passages", embedding_function=None)
        assert shared.prune() == ["20200101t000000000000-left"]
        assert f"{young}-passages" in {collection.name for collection in client.list_collections()}


def test_a_server_that_is_gone_is_a_503_with_the_safety_advice_and_comes_back(tiny_kb, store, tmp_path, monkeypatch):
    monkeypatch.setattr("ingest.server.TIMEOUT_S", 1.0)
    chroma = ChromaServer(tmp_path / "chroma")
    chroma.start()
    try:
        there = Store(store.path, url=chroma.url)
        build(tiny_kb, there)
        with TestClient(create_app(replica(there, tmp_path / "elsewhere")), raise_server_exceptions=False) as client:
            assert client.post("/api/chat", json=QUESTION).json()["outcome"] == "answered"
            for fault in (_kill, _freeze):
                fault(chroma)
                time.sleep(1.1)
                started = time.monotonic()
                refused = client.post("/api/chat", json=QUESTION)
                assert refused.status_code == 503 and refused.json()["error"]["code"] == "unavailable"
                advised = client.post("/api/chat", json=RED_FLAG)
                assert advised.status_code == 200 and "999" in advised.json()["text"]
                assert client.get("/readyz").status_code == 503 and client.get("/healthz").status_code == 200
                with pytest.raises(IndexUnreachable, match=rf"^{chroma.url}: the Chroma server does not answer$"):
                    build(tiny_kb, Store(store.path, url=chroma.url))
                assert time.monotonic() - started < 30
                _revive(chroma)
                time.sleep(0.2)
                assert client.post("/api/chat", json=QUESTION).json()["outcome"] == "answered"
        assert build(tiny_kb, Store(store.path, url=chroma.url)).unchanged == 4
    finally:
        chroma.stop()
        shutil.rmtree(chroma.folder, ignore_errors=True)


def _kill(chroma: ChromaServer) -> None:
    chroma.stop()


def _freeze(chroma: ChromaServer) -> None:
    """Stop the process, so that it takes connections and never answers."""
    os.kill(chroma.process.pid, signal.SIGSTOP)


def _revive(chroma: ChromaServer) -> None:
    if chroma.process:
        os.kill(chroma.process.pid, signal.SIGCONT)
    else:
        chroma.start()


def test_an_address_that_is_none_is_refused_at_the_start(monkeypatch):
    monkeypatch.setenv("BACKTALK_CHROMA_URL", "localhost:8000")
    with pytest.raises(BadSetting, match="BACKTALK_CHROMA_URL: .*'localhost:8000'"):
        read_settings()
