"""axe-core finds nothing on any page of ours: the chat in each of its states, articles, their list, the interface, the widget."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser
QUESTION = "Is running bad for my back?"
RED_FLAG = "I have gone numb between my legs"
SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])


def flaws(page: Page) -> list[str]:
    """What axe-core objects to, in its words."""
    found = Axe().run(page).response["violations"]
    return [f"{flaw['id']}: {node['html'][:120]}" for flaw in found for node in flaw["nodes"]]


def ask(page: Page, text: str) -> None:
    page.get_by_label("Your question").fill(text)
    page.get_by_label("Your question").press("Enter")


def test_axe_sees_a_flaw_where_there_is_one(visit, server):
    page = visit(f"{server}/kb")
    page.evaluate("document.querySelector('main').append(document.createElement('button'))")
    assert [flaw.partition(":")[0] for flaw in flaws(page)] == ["button-name"]


@SCHEMES
def test_chat_page(visit, server, scheme):
    page = visit(f"{server}/", color_scheme=scheme)
    page.get_by_role("heading", name="What would you like to know?").wait_for()
    assert flaws(page) == []
    ask(page, QUESTION)
    page.get_by_role("button", name="Source 1:").click()
    page.get_by_role("region", name="Source 1").wait_for()
    page.get_by_role("button", name="Not helpful").click()
    page.get_by_label("Would you like to say why?").wait_for()
    assert flaws(page) == []
    ask(page, RED_FLAG)
    expect(page.get_by_role("group", name="This answer")).to_have_count(2)
    assert flaws(page) == []


@SCHEMES
@pytest.mark.parametrize("path", ["/kb", "/kb/is-running-bad-for-your-back", "/docs", "/demo"])
def test_pages_to_read(visit, server, path, scheme):
    assert flaws(visit(f"{server}{path}", color_scheme=scheme)) == []


@SCHEMES
def test_widget(visit, server, scheme):
    page = visit(f"{server}/demo", color_scheme=scheme)
    page.get_by_role("button", name="Ask about your back").click()
    dialog = page.get_by_role("dialog")
    assert flaws(page) == []
    ask(page, QUESTION)
    dialog.get_by_role("button", name="Source 1:").click()
    dialog.get_by_role("group", name="Source 1", exact=True).wait_for()
    assert flaws(page) == []
    ask(page, RED_FLAG)
    page.get_by_role("alert").wait_for()
    expect(dialog.get_by_role("group", name="Was this helpful?")).to_be_visible()
    assert flaws(page) == []
