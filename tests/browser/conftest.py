"""Shared by the browser tests: a real server over the test index, the system's Chromium, and a page on another origin."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bot.settings import Settings

CHROMIUM = Path("/usr/bin/chromium")
SCREENSHOTS = Path(__file__).parent / "screenshots"  # for looking at; git ignores them
HOSTILE_CSS = """
html { font-size: 4px } body { direction: rtl; line-height: 5; zoom: 1 }
* { color: red !important; background: yellow !important; font: 40px fantasy !important; letter-spacing: 9px !important; text-transform: uppercase !important }
div, button, section, textarea { display: none !important }
body > * { opacity: .1 !important; visibility: hidden !important; pointer-events: none !important; transform: rotate(8deg) !important }
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def foreign_port() -> int:
    """The port of the other site, known before the server starts, since the server must allow it."""
    return free_port()


@pytest.fixture(scope="session")
def server(bot_settings, foreign_port, tmp_path_factory):
    """The address of a real `backtalk serve`."""
    allowed = {"BACKTALK_ALLOWED_ORIGINS": f"http://127.0.0.1:{foreign_port}"}
    with running(bot_settings, port := free_port(), tmp_path_factory.mktemp("server"), **allowed):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def running(settings: Settings, port: int, folder: Path, *options: str, **environment: str) -> Iterator[None]:
    """Run `backtalk serve` over the index of `settings`; if it dies, its output is shown."""
    output = folder / "output.txt"
    command = [str(Path(sys.executable).parent / "backtalk"), "serve", "--port", str(port), *options]
    known = {**os.environ, "BACKTALK_INDEX": str(settings.index), **environment}
    with output.open("w", encoding="utf-8") as sink:
        process = subprocess.Popen(command, env=known, cwd=folder, stdout=sink, stderr=subprocess.STDOUT)
    try:
        _wait(f"http://127.0.0.1:{port}", process, output)
        yield
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()  # It waits for streams that a page has left open.
            process.wait()


def _wait(address: str, process: subprocess.Popen, output: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{address}/readyz", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            if process.poll() is not None:
                break
            time.sleep(0.3)
    pytest.fail(f"the server did not start:\n{output.read_text(encoding='utf-8')}")


@pytest.fixture(scope="session")
def foreign_site(server, foreign_port):
    """The address of another site: hostile CSS, a strict policy with Trusted Types, and the widget's tag twice."""
    policy = (
        f"default-src 'none'; script-src {server}/widget.js; connect-src {server}; style-src 'nonce-own'; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    tag = f'<script src="{server}/widget.js" defer data-region="GB" data-title="Ask us"></script>'
    page = (
        f"<!doctype html><html lang=en><head><title>Other</title><style nonce=own>{HOSTILE_CSS}</style></head>"
        f"<body><h1>Other site</h1>{tag}{tag}</body></html>"
    ).encode()

    class Site(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Security-Policy", policy)
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_):
            """Stay quiet."""

    site = ThreadingHTTPServer(("127.0.0.1", foreign_port), Site)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{foreign_port}"
    site.shutdown()
    site.server_close()


@pytest.fixture(scope="session")
def chromium():
    """The system's Chromium. A missing one skips here, and fails in CI."""
    if not CHROMIUM.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{CHROMIUM} is missing")
        pytest.skip(f"{CHROMIUM} is missing")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=30_000)  # A busy machine is slow, not wrong.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, request):
    """Open an address in a fresh tab: `visit(url, width=320)`. Errors of the page's scripts and of its policy fail the test.

    Nothing moves, so that nothing is met half-way. How each tab looked at the end is kept in `SCREENSHOTS`.
    """
    contexts, errors = [], []

    def go(address: str, *, width: int = 1100, height: int = 800, **options):
        context = chromium.new_context(viewport={"width": width, "height": height}, **{"reduced_motion": "reduce", **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if "Content Security Policy" in message.text else None)
        page.requests = []
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto(address)
        return page

    yield go
    name = re.sub(r"\W+", "-", request.node.name)[:80]
    tabs = [page for context in contexts for page in context.pages]
    for number, page in enumerate(tabs):
        page.screenshot(path=SCREENSHOTS / f"{name}-{number}.jpg", quality=70)
    for context in contexts:
        context.close()
    assert not errors
