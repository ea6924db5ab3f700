"""The chat page in Chromium: a cited answer, a red flag first, the region's numbers, nothing from elsewhere, a small phone."""

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser


@pytest.fixture
def chat(visit, server):
    """The chat page, ready for a question: `chat(width=320)`."""

    def go(**options) -> Page:
        page = visit(f"{server}/", **options)
        page.get_by_label("Your question").wait_for()
        return page

    return go


def ask(page: Page, text: str) -> None:
    box = page.get_by_label("Your question")
    box.fill(text)
    box.press("Enter")


def test_question_gets_an_answer_with_its_source(chat, server):
    page = chat()
    ask(page, "Is running bad for my back?")
    sources = page.get_by_role("region", name="Sources of the last answer")
    expect(sources).to_contain_text("[1]")
    sources.get_by_text("[1]").click()
    expect(sources.get_by_role("blockquote").first).to_be_visible()
    article = sources.get_by_role("link", name="Read this section").first
    with page.context.expect_page() as opened:
        article.click()
    expect(opened.value.get_by_role("heading", level=1)).to_be_visible()
    assert opened.value.url.startswith(f"{server}/kb/")


def test_red_flag_is_an_alert_with_what_to_do(chat):
    page = chat()
    page.get_by_label("Where are you?").click()
    page.get_by_role("option", name="Australia").click()
    ask(page, "I have gone numb between my legs")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Get emergency help now")
    expect(alert).to_contain_text("000")
    ask(page, "heat or ice for it?")
    expect(page.get_by_label("Conversation").get_by_text("heat or ice for it?")).to_be_visible()
    expect(alert).to_contain_text("Get emergency help now")


def test_clearing_takes_the_conversation_and_the_alert_away(chat):
    page = chat()
    ask(page, "I have gone numb between my legs")
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_role("button", name="Clear the conversation").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.get_by_text("I have gone numb between my legs")).to_have_count(0)


def test_markup_in_a_question_runs_nothing(chat):
    page = chat()
    ran = []
    page.on("dialog", lambda dialog: (ran.append(dialog.message), dialog.dismiss()))
    ask(page, "<img src=x onerror=alert(1)><svg onload=alert(1)></svg> is running bad for my back?")
    # One button a message: the question and its answer are there.
    expect(page.get_by_role("button", name="Copy message")).to_have_count(2)
    assert not ran
    assert page.evaluate("document.querySelectorAll('[onerror], [onload]').length") == 0


def test_no_request_leaves_the_origin(chat, server):
    page = chat()
    ask(page, "Is running bad for my back?")
    page.get_by_role("region", name="Sources of the last answer").wait_for()
    elsewhere = [url for url in page.requests if not url.startswith((server, "data:", "blob:"))]
    assert page.requests and not elsewhere


@pytest.mark.parametrize("path", ["/", "/kb", "/kb/when-to-get-help", "/demo"])
def test_phone_of_320_px_does_not_scroll_sideways(visit, server, path):
    page = visit(f"{server}{path}", width=320, height=640)
    page.get_by_role("heading", level=1).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
