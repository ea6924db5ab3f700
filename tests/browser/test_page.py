"""The chat page in Chromium as a person meets it: sources, the alert first, keeping, saving, erasing, keyboard, small and dark screens."""

import re
import sqlite3

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser
QUESTION = "Is running bad for my back?"
RED_FLAG = "I have gone numb between my legs"


@pytest.fixture
def chat(visit, server):
    """The chat page, ready for a question: `chat(width=320)`."""

    def go(**options) -> Page:
        page = visit(f"{server}/", **options)
        ready(page)
        return page

    return go


def ready(page: Page) -> None:
    page.get_by_role("log", name="Conversation").wait_for(state="attached")
    page.get_by_label("Your question").wait_for()


def ask(page: Page, text: str) -> None:
    """Ask, and wait for the whole answer."""
    answers = page.get_by_role("group", name="This answer")
    before = answers.count()
    box = page.get_by_label("Your question")
    box.fill(text)
    box.press("Enter")
    expect(answers).to_have_count(before + 1)


def test_example_question_leads_to_a_cited_answer_and_its_passage(chat, server):
    page = chat()
    page.get_by_role("region", name="Running").get_by_role("button", name=QUESTION).click()
    mark = page.get_by_role("button", name="Source 1:")
    mark.click()
    source = page.get_by_role("region", name="Source 1")
    quoted = source.get_by_role("mark").first.inner_text()
    assert quoted in page.get_by_role("log").inner_text()
    assert len(source.locator(".bt-passage").inner_text()) > len(quoted)
    expect(source).to_contain_text("The evidence is")
    expect(source).to_contain_text("Checked")
    expect(source).to_contain_text("not yet reviewed by a clinician")
    work = source.get_by_role("list").last.get_by_role("listitem").first
    expect(work).to_contain_text(re.compile(r", (19|20)\d\d"))
    assert work.get_by_role("link").get_attribute("href").startswith("https://")
    with page.context.expect_page() as opened:
        source.get_by_role("link", name="Read the whole article").click()
    expect(opened.value.get_by_role("heading", level=1)).to_be_visible()
    assert opened.value.url.startswith(f"{server}/kb/")


def test_answer_says_how_sure_and_offers_more(chat):
    page = chat()
    ask(page, QUESTION)
    expect(page.get_by_text("How sure?")).to_be_visible()
    more = page.get_by_role("region", name="You could also ask").get_by_role("button")
    text = more.first.inner_text()
    more.first.click()
    expect(page.get_by_role("log")).to_contain_text(f"You: {text}")
    expect(page.get_by_role("group", name="This answer")).to_have_count(2)


def test_answer_grows_and_the_log_hears_it_once(chat):
    page = chat()
    page.evaluate(
        """() => { document.grown = []; document.heard = 0;
            new MutationObserver(() => document.grown.push(document.querySelector('#bt-draft').textContent.length))
                .observe(document.querySelector('#bt-draft'), {childList: true, subtree: true, characterData: true});
            new MutationObserver(changes => { for (const c of changes) for (const n of c.addedNodes) if (n.className?.includes?.('bt-answer')) document.heard++ })
                .observe(document.querySelector('[role=log]'), {childList: true, subtree: true}) }"""
    )
    ask(page, QUESTION)
    assert len(set(page.evaluate("document.grown"))) > 5
    assert page.evaluate("document.heard") == 1


def test_red_flag_is_an_alert_before_any_word_of_the_answer(chat):
    page = chat()
    page.evaluate(
        """() => { document.order = [];
            new MutationObserver(() => document.order.push([Boolean(document.querySelector('[role=alert]')), Boolean(document.querySelector('.bt-words'))]))
                .observe(document.body, {childList: true, subtree: true}) }"""
    )
    ask(page, RED_FLAG)
    assert [False, True] not in page.evaluate("document.order")
    alert = page.get_by_role("alert")
    expect(alert.get_by_role("heading", name="Get emergency help now")).to_be_visible()
    expect(alert.locator("svg")).to_be_visible()


def test_alert_has_the_regions_number_and_stays_in_view(chat):
    page = chat(height=600)
    ask(page, RED_FLAG)
    page.get_by_label("Phone numbers for").click()
    page.get_by_role("option", name="Australia").click()
    alert = page.get_by_role("alert")
    expect(alert.get_by_role("link", name="000", exact=True)).to_have_attribute("href", "tel:000")
    ask(page, "heat or ice for it?")
    page.mouse.wheel(0, 5000)
    page.wait_for_function("scrollY > 100")
    expect(alert).to_be_in_viewport(ratio=1)
    expect(alert).to_contain_text("Get emergency help now")


def test_conversation_survives_a_reload_and_is_erased_with_one_button(chat):
    page = chat()
    ask(page, RED_FLAG)
    page.reload()
    ready(page)
    expect(page.get_by_role("log")).to_contain_text(RED_FLAG)
    expect(page.get_by_role("alert")).to_contain_text("Get emergency help now")
    ask(page, "heat or ice?")
    expect(page.get_by_role("log")).to_contain_text("because earlier you wrote")
    page.get_by_role("button", name="Erase this conversation").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.get_by_role("heading", name="What would you like to know?")).to_be_visible()
    kept = page.evaluate("JSON.stringify(localStorage)")
    page.reload()
    ready(page)
    expect(page.get_by_text(RED_FLAG)).to_have_count(0)
    assert len(kept) < 300, "only the region is left"


def test_thumb_and_comment_keep_the_conversation_only_when_ticked(chat, bot_settings):
    page = chat()
    ask(page, QUESTION)
    page.get_by_role("button", name="Not helpful").click()
    expect(page.get_by_role("button", name="Not helpful")).to_have_attribute("aria-pressed", "true")
    page.get_by_label("Would you like to say why?").fill("too short")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_label("Would you like to say why?")).to_be_hidden()
    page.get_by_role("button", name="Helpful", exact=True).click()
    page.get_by_label("Keep this conversation").check()
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_label("Would you like to say why?")).to_be_hidden()
    with sqlite3.connect(bot_settings.index / "feedback.sqlite") as connection:
        rows = connection.execute("SELECT rating, comment, consent, messages, reply_id FROM feedback ORDER BY id DESC LIMIT 4").fetchall()
    with_consent, again, commented, first = rows
    assert first[:4] == ("down", None, 0, None) and commented[:4] == ("down", "too short", 0, None)
    assert again[:4] == ("up", None, 0, None) and with_consent[:3] == ("up", None, 1) and QUESTION in with_consent[3]
    assert len({row[4] for row in rows}) == 1


def test_copy_and_ask_again(chat):
    page = chat(permissions=["clipboard-read", "clipboard-write"])
    ask(page, QUESTION)
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert " [1]" in copied and "You:" not in copied and "Backtalk:" not in copied
    with page.expect_request(lambda sent: sent.method == "POST"):
        page.get_by_role("button", name="Ask again").click()
    expect(page.get_by_role("group", name="This answer")).to_have_count(1)
    expect(page.get_by_role("log").get_by_text(QUESTION)).to_have_count(1)


def test_saved_conversation_has_questions_answers_and_sources(chat):
    page = chat()
    ask(page, QUESTION)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as text file").click()
    assert saved.value.suggested_filename == "backtalk-conversation.md"
    text = saved.value.path().read_text(encoding="utf-8")
    assert f"> {QUESTION}" in text and "[1]" in text and "<https://" in text and "not a diagnosis" in text


def test_printed_conversation_is_the_conversation_alone(chat):
    page = chat()
    ask(page, QUESTION)
    page.evaluate("window.print = () => { document.printed = true }")
    page.get_by_role("button", name="Print").click()
    page.wait_for_function("document.printed")
    page.emulate_media(media="print")
    expect(page.get_by_role("heading", name=QUESTION)).to_be_visible()
    expect(page.get_by_label("Your question")).to_be_hidden()
    expect(page.get_by_role("button", name="Ask again")).to_be_hidden()


def test_keyboard_alone(chat):
    """From the top of the page: ask, open a source, close it, rate; Tab, Enter and Escape only."""
    page = chat()

    def tab_to(name: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if name in page.evaluate(
                "(e => e.getAttribute('aria-label') || e.labels?.[0]?.textContent || e.textContent)(document.activeElement) || ''"
            ):
                return
        pytest.fail(f"Tab never reached {name!r}")

    tab_to("Is running bad")
    page.keyboard.press("Enter")
    expect(page.get_by_role("group", name="This answer")).to_be_visible()
    expect(page.get_by_label("Your question")).to_be_focused()
    page.keyboard.type("heat or ice?")
    page.keyboard.press("Enter")
    expect(page.get_by_role("group", name="This answer")).to_have_count(2)
    page.get_by_role("button", name="Source 1:").last.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Source 1")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("region", name="Source 1")).to_have_count(0)
    expect(page.get_by_role("button", name="Source 1:").last).to_be_focused()
    tab_to("Helpful")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Would you like to say why?")).to_be_focused()


def test_words_from_right_to_left(chat):
    page = chat()
    box = page.get_by_label("Your question")
    assert box.evaluate("e => getComputedStyle(e).unicodeBidi") == "plaintext"
    ask(page, "هل الجري مضر لظهري؟")
    assert page.locator(".bt-question").evaluate("e => getComputedStyle(e).direction") == "rtl"
    assert page.locator(".bt-words").evaluate("e => getComputedStyle(e).direction") == "rtl"


def test_dark(chat):
    light, dark = chat(color_scheme="light"), chat(color_scheme="dark")
    shade = "getComputedStyle(document.querySelector('.gradio-container')).backgroundColor.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0)"
    assert light.evaluate(shade) > 650 and dark.evaluate(shade) < 150


@pytest.mark.parametrize(("width", "zoom"), [(320, 1), (640, 2)], ids=["320-px", "text-200-percent"])
def test_nothing_scrolls_sideways(chat, width, zoom):
    page = chat(width=width, height=640)
    page.add_style_tag(content=f"html {{ font-size: {16 * zoom}px !important }}")
    wide = "document.documentElement.scrollWidth"
    assert page.evaluate(wide) <= width
    ask(page, QUESTION)
    page.get_by_role("button", name="Source 1:").first.click()
    panel = page.get_by_role("region", name="Source 1")
    expect(panel).to_be_visible()
    assert page.evaluate(wide) <= width and panel.bounding_box()["width"] <= width
    panel.get_by_role("button", name="Close source").click()
    ask(page, RED_FLAG)
    assert page.evaluate(wide) <= width
    expect(page.get_by_label("Your question")).to_be_in_viewport()


@pytest.mark.parametrize("path", ["/kb", "/kb/when-to-get-help", "/docs", "/demo"])
def test_other_pages_on_a_phone_of_320_px(visit, server, path):
    page = visit(f"{server}{path}", width=320, height=640)
    page.get_by_role("heading", level=1).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


@pytest.mark.parametrize(
    "attack",
    [
        "<img src=x onerror=alert(1)><svg onload=alert(1)></svg> is running bad for my back?",
        "![remote](https://evil.example/pixel.png) [click](javascript:alert(1)) is running bad for my back?",
        '"><script>alert(1)</script> my back hurts and I have gone numb between my legs <iframe src=//evil.example>',
    ],
)
def test_markup_in_a_question_runs_and_loads_nothing(chat, server, attack):
    page = chat()
    ran = []
    page.on("dialog", lambda dialog: (ran.append(dialog.message), dialog.dismiss()))
    ask(page, attack)
    page.reload()
    ready(page)
    expect(page.get_by_role("log")).to_contain_text(attack[:20])
    assert page.get_by_role("log").locator("img, script, iframe, [onerror], [onload], a[href^='javascript']").count() == 0
    assert not ran and not [url for url in page.requests if "evil.example" in url]


def test_no_request_leaves_the_origin(chat, server):
    page = chat()
    ask(page, QUESTION)
    page.get_by_role("button", name="Source 1:").click()
    page.get_by_role("region", name="Source 1").wait_for()
    for path in ("/kb", "/kb/when-to-get-help", "/docs", "/demo"):
        page.goto(f"{server}{path}")
    elsewhere = [url for url in page.requests if not url.startswith((server, "data:", "blob:"))]
    assert page.requests and not elsewhere


def test_article_can_be_walked_by_its_contents_and_marks(visit, server):
    page = visit(f"{server}/kb/is-running-bad-for-your-back")
    contents = page.get_by_role("navigation", name="In this article").get_by_role("link")
    target = contents.nth(1).get_attribute("href")
    contents.nth(1).click()
    assert page.url.endswith(target)
    page.get_by_role("link", name="Source 1", exact=True).first.click()
    expect(page.locator("#source-1")).to_be_in_viewport()
    expect(page.locator("#source-1").get_by_role("link")).to_have_attribute("href", re.compile("^https?://"))
    page.emulate_media(media="print")
    expect(page.get_by_role("navigation", name="Site")).to_be_hidden()


def test_offline_shows_the_danger_signs_and_asks_again_once_back(chat):
    page = chat()
    page.context.set_offline(True)
    page.get_by_label("Your question").fill(QUESTION)
    page.get_by_label("Your question").press("Enter")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Your question is kept")
    expect(alert).to_contain_text("numbness around your bottom")
    expect(alert.get_by_role("link", name="112")).to_have_attribute("href", "tel:112")
    page.context.set_offline(False)
    expect(page.get_by_role("group", name="This answer")).to_have_count(1)
    expect(page.get_by_role("log").get_by_text(QUESTION)).to_have_count(1)
    expect(alert).to_have_count(0)


def test_server_that_dies_while_answering(chat):
    """The question was taken, its answer never comes: the same words, and it is asked again, once."""
    page = chat()
    ask(page, QUESTION)
    for door in ("**/queue/data**", "**/healthz"):
        page.route(door, lambda route: route.abort())
    page.get_by_label("Your question").fill("heat or ice?")
    page.get_by_label("Your question").press("Enter")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Your question is kept")
    alert.get_by_role("button", name="Try again").press("Enter")
    expect(alert.get_by_role("button", name="Try again")).to_be_visible()
    page.unroute_all()
    expect(page.get_by_role("group", name="This answer")).to_have_count(2)
    expect(page.get_by_role("log").get_by_text("heat or ice?")).to_have_count(1)
    assert page.evaluate("sessionStorage.getItem('backtalk-asked')") is None


def test_question_sent_meanwhile_is_asked_next(chat):
    page = chat()
    box = page.get_by_label("Your question")
    box.fill(QUESTION)
    box.press("Enter")
    expect(page.get_by_role("log")).to_contain_text(QUESTION)
    box.fill("heat or ice?")
    box.press("Enter")
    expect(page.get_by_role("group", name="This answer")).to_have_count(2)
    expect(page.locator(".bt-question")).to_have_text([f"You: {QUESTION}", "You: heat or ice?"])


def test_newest_question_stands_at_the_top_below_the_alert(chat):
    page = chat(height=600)
    ask(page, QUESTION)
    ask(page, RED_FLAG)
    page.wait_for_function("""() => {
        const top = document.querySelector('#bt-top').getBoundingClientRect().bottom;
        const question = [...document.querySelectorAll('.bt-question')].at(-1).getBoundingClientRect();
        return question.top >= top && question.top < top + 60 }""")


def test_empty_question_is_refused_in_words(chat):
    page = chat()
    box = page.get_by_label("Your question")
    box.fill("   ")
    box.press("Enter")
    expect(page.get_by_text("Please type a question.")).to_be_visible()
