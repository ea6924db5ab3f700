import re
from pathlib import Path

from bot.cli import app
from bot.settings import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_setting_is_in_the_readme_and_the_reverse():
    named = set(re.findall(r"BACKTALK_[A-Z_]+", README))
    assert named == {f"BACKTALK_{name.upper()}" for name in Settings.model_fields}


def test_every_command_in_the_readme_exists():
    commands = {command.name or command.callback.__name__ for command in app.registered_commands} | {"eval"}
    used = set(re.findall(r"^backtalk (\w+)", README, re.MULTILINE)) | set(re.findall(r"`backtalk (\w+)", README))
    assert used <= commands
    assert {"ask", "chat", "batch", "search", "check", "ingest", "serve"} <= used


def test_every_make_target_in_the_readme_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", README)) <= targets
    assert {"install", "chat", "test", "lint", "format", "eval", "bench", "clean"} <= targets


def test_every_file_named_in_the_readme_exists():
    for name in re.findall(r"`((?:bot|kb|ingest|evals)/[\w./-]+)`|\]\(([\w./-]+)\)", README):
        path = ROOT / (name[0] or name[1])
        assert path.exists(), path


def test_nothing_in_the_running_product_reads_the_test_data():
    for folder in ("bot", "ingest", "kb"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert "evals/data" not in text and "from evals" not in text and "import evals" not in text, path
