import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bot.cli import app
from bot.settings import Settings
from tests.conftest import link_models

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
RUNNABLE = re.compile(r"^```sh run\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_every_setting_is_in_the_readme_or_on_the_operators_page_and_the_reverse():
    named = set(re.findall(r"BACKTALK_[A-Z_]+", README + PAGES["operate.md"]))
    assert named == {f"BACKTALK_{name.upper()}" for name in Settings.model_fields}


def test_every_command_in_the_readme_exists():
    groups = {"eval"} | {group.name for group in app.registered_groups}
    commands = groups | {command.name or command.callback.__name__ for command in app.registered_commands}
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


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.mark.model
@pytest.mark.parametrize("name", [name for name, text in PAGES.items() if RUNNABLE.search(text)])
def test_every_runnable_block_of_a_page_runs(name, bot_settings, models, tmp_path):
    """The blocks of a page run one after the other in one folder, each as a script that stops at the first failure.

    Where a page makes an index of its own, the model is already exported: exporting it has its own test, and takes 20 s of processor time.
    """
    for folder in ("index", "data"):
        if f"BACKTALK_INDEX=$PWD/{folder}" in PAGES[name]:
            link_models(models, tmp_path / folder)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "BACKTALK_INDEX": str(bot_settings.index),
        "TINY_KB": str(ROOT / "tests" / "kb"),
        "PORT": _free_port(),
        "CHROMA_PORT": _free_port(),
    }
    for block in RUNNABLE.findall(PAGES[name]):
        # What a block leaves running is stopped with it.
        script = f"set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n{block}"
        command = ["bash", "-c", script]
        with subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        ) as process:
            try:
                printed, _ = process.communicate(timeout=180)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        assert process.returncode == 0, f"{block}\n{printed[-3000:]}"


def test_every_link_of_a_page_leads_somewhere():
    for name, text in PAGES.items():
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (ROOT / "docs" / target).exists() or target.endswith("BENCH.md"), f"docs/{name}: {target}"


def test_every_test_that_the_operators_page_names_exists():
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", PAGES["operate.md"])
    assert len(named) >= 12
    for file, name in named:
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), f"{file}::{name}"


def test_every_metric_and_environment_variable_of_the_operators_page_exists():
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "bot").glob("*.py"))
    for metric in re.findall(r"`(backtalk_\w+?)(?:_total)?\{", PAGES["operate.md"]):
        assert f'"{metric}"' in code, metric
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in code
