"""Shared fixtures: a tiny knowledge base, its real index with the real model, and a bot over it. No network beyond this machine."""

import os
import shutil
import socket
from pathlib import Path

import pytest

os.environ.update(ANONYMIZED_TELEMETRY="False", GRADIO_ANALYTICS_ENABLED="False", HF_HUB_OFFLINE="1")
for name in [name for name in os.environ if name.startswith("BACKTALK_")]:
    del os.environ[name]

from bot.chain import Chain
from bot.open import LiveRetriever
from bot.settings import Settings
from bot.turn import Message, Reply
from ingest.cli import ingest
from ingest.embed import DEFAULT_MODEL, PLAIN_MODEL, OnnxEmbedder, network_file
from ingest.index import Store
from kb.article import KB_DIR

ROOT = Path(__file__).parent.parent
TINY = Path(__file__).parent / "kb"


@pytest.fixture(autouse=True, scope="session")
def _no_network():
    """Refuse every connection that leaves this machine."""
    real = socket.socket.connect

    def connect(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to reach {address}")
        return real(self, address)

    socket.socket.connect = connect
    yield
    socket.socket.connect = real


@pytest.fixture(autouse=True)
def _no_env_file(tmp_path, monkeypatch):
    """Run each test in a folder of its own, so that no .env of the developer is read."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """The exported embedding models; they are kept beside the product's index, and exported there if they are not yet."""
    folder = tmp_path_factory.mktemp("models")
    for name in (DEFAULT_MODEL, PLAIN_MODEL):
        kept = network_file(ROOT / ".backtalk" / "models", name)
        if not kept.is_file():
            OnnxEmbedder(kept.parent, name)
        os.link(kept, folder / kept.name)
    return folder


def link_models(models: Path, index: Path) -> None:
    """Put the exported model where an index in the folder `index` looks for it, without copying it."""
    (index / "models").mkdir(parents=True)
    for file in models.iterdir():
        os.link(file, index / "models" / file.name)


@pytest.fixture
def tiny_kb(tmp_path) -> Path:
    """A copy of the tiny knowledge base that a test may change."""
    return Path(shutil.copytree(TINY, tmp_path / "kb"))


@pytest.fixture
def store(tmp_path, models) -> Store:
    """An empty place for an index, with the model file at hand."""
    link_models(models, tmp_path / "store")
    return Store(tmp_path / "store")


@pytest.fixture(scope="session")
def tiny_settings(tmp_path_factory, models) -> Settings:
    """Settings of a bot over the tiny knowledge base, indexed once for all tests that only read; with no limit on calls."""
    path = tmp_path_factory.mktemp("tiny")
    link_models(models, path)
    ingest(TINY, Store(path), model=DEFAULT_MODEL, rebuild=False, reviewed_only=False, quiet=True)
    return Settings(index=path, rate_limit="")


@pytest.fixture(scope="session")
def bot_settings(tmp_path_factory, models) -> Settings:
    """Settings of a bot over the real knowledge base, indexed once for all tests; vectors that the product already has are taken over."""
    path = tmp_path_factory.mktemp("index")
    link_models(models, path)
    product = Store(ROOT / ".backtalk")
    live = product.current()
    if live and product.holds(live):
        shutil.copytree(product.path / "builds" / live, path / "builds" / live)
        (path / "current").write_text(live, encoding="utf-8")
    ingest(KB_DIR, Store(path), model=DEFAULT_MODEL, rebuild=False, reviewed_only=False, quiet=True)
    return Settings(index=path)


@pytest.fixture(scope="session")
def bot(bot_settings) -> Chain:
    """The bot over the real knowledge base."""
    return Chain(LiveRetriever(bot_settings), region="GB")


@pytest.fixture(scope="session")
def ask(bot):
    """Ask the bot: `ask("one turn")` or `ask("first", "second")`, the bot's own replies in between."""

    def run(*texts: str) -> Reply:
        messages: list[Message] = []
        for text in texts:
            if messages:
                messages.append(Message(role="assistant", content=bot.respond(messages).text))
            messages.append(Message(role="user", content=text))
        return bot.respond(messages)

    return run
