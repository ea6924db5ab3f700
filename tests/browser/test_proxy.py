"""Everything under a path of another server, as behind a reverse proxy that strips it: pages, chat, widget, API, assistants."""

import http.client
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anyio
import pytest
from mcp import Client
from playwright.sync_api import expect

from tests.browser.conftest import free_port, running

pytestmark = pytest.mark.browser
PREFIX = "/club/backtalk"


@pytest.fixture(scope="module")
def proxied(bot_settings, tmp_path_factory):
    """The address, prefix included, of a proxy before a server that was told of it; anything outside of the prefix is a 404."""
    port, front = free_port(), free_port()

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def do_GET(self):
            if not self.path.startswith(f"{PREFIX}/"):
                self.send_error(404)
                return
            upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name: value for name, value in self.headers.items() if name.lower() not in ("connection", "accept-encoding")}
            headers |= {"X-Forwarded-Host": f"127.0.0.1:{front}", "X-Forwarded-Proto": "http"}
            upstream.request(self.command, self.path.removeprefix(PREFIX), body, headers)
            response = upstream.getresponse()
            self.send_response(response.status)
            for name, value in response.getheaders():
                if name.lower() not in ("transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.end_headers()
            while piece := response.read1(65536):
                self.wfile.write(piece)
                self.wfile.flush()

        do_POST = do_HEAD = do_GET

        def log_message(self, *_):
            """Stay quiet."""

    with running(bot_settings, port, tmp_path_factory.mktemp("proxied"), "--root-path", PREFIX):
        proxy = ThreadingHTTPServer(("127.0.0.1", front), Proxy)
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{front}{PREFIX}"
        proxy.shutdown()
        proxy.server_close()


def test_chat_and_its_sources(visit, proxied):
    page = visit(f"{proxied}/")
    page.get_by_label("Your question").fill("Is running bad for my back?")
    page.get_by_label("Your question").press("Enter")
    page.get_by_role("button", name="Source 1:").click()
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Read the whole article").click()
    expect(opened.value.get_by_role("heading", level=1)).to_be_visible()
    opened.value.get_by_role("link", name="All articles").click()
    opened.value.get_by_role("link", name="Is running bad for your back?").first.click()
    assert opened.value.url.startswith(f"{proxied}/kb/")
    assert all(url.startswith((f"{proxied}/", "data:", "blob:")) for url in page.requests)


def test_widget_and_interface(visit, proxied):
    page = visit(f"{proxied}/demo")
    page.get_by_role("button", name="Ask about your back").click()
    page.get_by_label("Your question").fill("Is running bad for my back?")
    page.get_by_label("Your question").press("Enter")
    expect(page.get_by_role("button", name="Source 1:")).to_be_visible()
    page.goto(f"{proxied}/docs")
    page.get_by_role("link", name="openapi.json").click()
    expect(page.locator("body")).to_contain_text("/api/chat")


def test_real_assistant(proxied):
    """The official client of the Model Context Protocol."""

    async def ask():
        async with Client(f"{proxied}/mcp") as assistant:
            asked = {"question": "I have gone numb between my legs", "region": "GB"}
            return await assistant.call_tool("ask_about_back_pain", asked)

    # In a thread of its own: Playwright's loop runs in this one.
    with ThreadPoolExecutor(1) as aside:
        reply = aside.submit(anyio.run, ask).result().structured_content
    assert reply["escalation"]["level"] == "emergency" and "999" in reply["escalation"]["advice"]
