"""The support widget in Chromium, on a page of another origin with a strict policy and hostile CSS, as a person meets it."""

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser
RED_FLAG = "I have gone numb between my legs"


def opened(page: Page):
    """The dialog, opened from the keyboard."""
    launcher = page.get_by_role("button", name="Ask us")
    launcher.focus()
    page.keyboard.press("Enter")
    return page.get_by_role("dialog", name="Ask us")


def ask(page: Page, text: str) -> None:
    page.get_by_label("Your question").fill(text)
    page.keyboard.press("Enter")


def focused(page: Page) -> str:
    """The accessible name of what has the focus, inside the widget's shadow tree."""
    return page.evaluate(
        """() => { const e = document.querySelector('backtalk-widget').shadowRoot.activeElement;
                   return e && (e.getAttribute('aria-label') || e.textContent) }"""
    )


def test_keyboard_alone_opens_asks_reads_a_source_and_leaves(visit, foreign_site):
    page = visit(foreign_site)
    dialog = opened(page)
    expect(page.get_by_label("Your question")).to_be_focused()
    page.keyboard.type("Is running bad for my back?")
    page.keyboard.press("Enter")
    mark = dialog.get_by_role("button", name="Source 1:").first
    mark.focus()
    page.keyboard.press("Enter")
    source = dialog.get_by_role("group", name="Source 1", exact=True)
    expect(source.get_by_role("blockquote")).to_be_visible()
    assert source.get_by_role("listitem").get_by_role("link").first.get_attribute("href").startswith("http")
    expect(source).to_contain_text("Checked")
    expect(source).to_contain_text("clinician")
    expect(mark).to_have_attribute("aria-expanded", "true")
    source.get_by_role("button", name="Close source").press("Enter")
    expect(mark).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name="Ask us")).to_be_focused()


def test_focus_stays_in_the_dialog(visit, foreign_site):
    page = visit(foreign_site)
    opened(page)
    page.get_by_role("button", name="New conversation").focus()
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.localName") == "backtalk-widget"
    expect(page.get_by_label("Phone numbers for")).to_be_focused()
    page.keyboard.press("Tab")
    assert focused(page) == "New conversation"


def test_hostile_css_does_not_reach_it(visit, foreign_site):
    page = visit(foreign_site)
    opened(page)
    box = page.get_by_label("Your question")
    style = box.evaluate(
        "e => { const s = getComputedStyle(e); return [s.color, s.fontSize, s.letterSpacing, s.textTransform, s.direction] }"
    )
    assert style == ["rgb(23, 43, 39)", "16px", "normal", "none", "ltr"]


def test_two_tags_make_one_widget_and_one_global(visit, foreign_site):
    page = visit(foreign_site)
    expect(page.get_by_role("button", name="Ask us")).to_have_count(1)
    without = page.context.new_page()
    without.route("**/widget.js", lambda route: route.abort())
    without.goto(foreign_site)
    names = "Object.getOwnPropertyNames(window)"
    assert set(page.evaluate(names)) - set(without.evaluate(names)) == {"Backtalk"}


def test_red_flag_shows_the_banner_before_any_word_of_the_answer(visit, foreign_site, server):
    page = visit(foreign_site)
    opened(page)
    page.evaluate(
        """() => {
            const tree = document.querySelector('backtalk-widget').shadowRoot, seen = window.Backtalk && (document.order = []);
            new MutationObserver(() => {
                const alert = tree.querySelector('[role=alert]'), answer = [...tree.querySelectorAll('.bot')].some(e => /Call/.test(e.textContent));
                seen.push([Boolean(alert), answer]);
            }).observe(tree, {childList: true, subtree: true, characterData: true});
        }"""
    )
    ask(page, RED_FLAG)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Get emergency help now")
    expect(alert.get_by_role("link", name="999")).to_have_attribute("href", "tel:999")
    expect(page.get_by_role("log")).to_contain_text("Call 999")
    assert not [step for step in page.evaluate("document.order") if step == [False, True]]


def test_banner_stays_while_in_force_and_follows_the_region(visit, foreign_site):
    page = visit(foreign_site)
    opened(page)
    ask(page, RED_FLAG)
    expect(page.get_by_role("alert").get_by_role("link", name="999")).to_be_visible()
    page.get_by_label("Phone numbers for").select_option("US")
    expect(page.get_by_role("alert").get_by_role("link", name="911")).to_be_visible()
    ask(page, "heat or ice?")
    expect(page.get_by_role("log")).to_contain_text("heat or ice?")
    expect(page.get_by_role("alert")).to_contain_text("Get emergency help now")


def test_log_hears_an_answer_once_and_whole(visit, foreign_site):
    page = visit(foreign_site)
    dialog = opened(page)
    page.evaluate(
        """() => { document.heard = [];
            new MutationObserver(changes => changes.forEach(c => c.addedNodes.forEach(n => document.heard.push(n.textContent.slice(0, 8)))))
                .observe(document.querySelector('backtalk-widget').shadowRoot.querySelector('[role=log]'), {childList: true, subtree: true}) }"""
    )
    ask(page, "Is running bad for my back?")
    dialog.get_by_role("button", name="Source 1:").first.wait_for()
    assert [heard[:4] for heard in page.evaluate("document.heard")] == ["You:", "Back"]


def test_markup_is_shown_as_words(visit, foreign_site):
    page = visit(foreign_site)
    dialog = opened(page)
    ask(page, "<img src=x onerror=alert(1)> **hello**")
    expect(dialog.get_by_role("log")).to_contain_text("<img src=x onerror=alert(1)>")
    assert dialog.get_by_role("img").count() == 0


def test_a_hostile_reply_is_shown_as_words(visit, foreign_site, server):
    """Whatever a server, a model or a proxy sends: no markup, no script address."""
    page = visit(foreign_site)
    source = {"id": "s", "title": "<b>T</b>", "publisher": "<i>P</i>", "year": 2020, "url": "javascript:alert(1)"}
    citation = {
        "n": 1,
        "chunk_id": "c",
        "article_id": "a",
        "title": "<u>A</u>",
        "section": "S",
        "quote": "<script>q</script>",
        "url": "data:text/html,x",
    }
    citation |= {"sources": [source], "evidence": "", "checked": "", "review_status": ""}
    reply = {
        "text": "<img src=x> **<b>bold</b>** [x](javascript:1) [1]",
        "outcome": "answered",
        "citations": [citation],
        "follow_ups": ["<b>next</b>"],
    }
    page.evaluate(
        """reply => { reply.escalation = {level: 'none', flags: [], advice: ''};
            window.fetch = async () => new Response(`event: done\\ndata: ${JSON.stringify(reply)}\\n\\n`) }""",
        reply,
    )
    dialog = opened(page)
    ask(page, "anything")
    dialog.get_by_role("button", name="Source 1:").click()
    shown = dialog.get_by_role("group", name="Source 1", exact=True)
    expect(shown).to_contain_text("<script>q</script>")
    assert shown.get_by_role("link").count() == 0
    expect(dialog.get_by_role("button", name="<b>next</b>")).to_be_visible()
    assert dialog.get_by_role("img").count() == 0


def test_server_down_shows_the_danger_signs_and_tries_again(visit, foreign_site):
    page = visit(foreign_site)
    dialog = opened(page)
    page.route("**/api/chat", lambda route: route.abort())
    ask(page, "heat or ice?")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Get emergency help now if back pain comes with any of these")
    expect(alert.get_by_role("link", name="999")).to_be_visible()
    page.unroute("**/api/chat")
    alert.get_by_role("button", name="Try again").press("Enter")
    expect(dialog.get_by_role("button", name="Source 1:").first).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_offline_is_said_and_answered_once_back(visit, foreign_site):
    page = visit(foreign_site)
    dialog = opened(page)
    page.context.set_offline(True)
    ask(page, "heat or ice?")
    expect(page.get_by_role("alert")).to_contain_text("You are offline")
    page.context.set_offline(False)
    expect(dialog.get_by_role("button", name="Source 1:").first).to_be_visible()


def test_refused_question_goes_back_into_the_box(visit, foreign_site):
    page = visit(foreign_site)
    opened(page)
    page.route(
        "**/api/chat",
        lambda route: route.fulfill(
            status=413, json={"error": {"code": "too_large", "message": "too long"}}, headers={"access-control-allow-origin": "*"}
        ),
    )
    ask(page, "a very long story")
    expect(page.get_by_role("alert")).to_contain_text("too long")
    expect(page.get_by_label("Your question")).to_have_value("a very long story")


def test_conversation_survives_a_reload_in_its_tab_only(visit, foreign_site):
    page = visit(foreign_site)
    dialog = opened(page)
    ask(page, "Is running bad for my back?")
    dialog.get_by_role("button", name="Source 1:").first.wait_for()
    page.reload()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.get_by_role("dialog").get_by_role("button", name="Source 1:").first.click()
    expect(page.get_by_role("group", name="Source 1", exact=True)).to_be_visible()
    other = page.context.new_page()
    other.goto(foreign_site)
    other.get_by_role("button", name="Ask us").press("Enter")
    expect(other.get_by_role("log")).not_to_contain_text("Is running bad")
    page.get_by_role("button", name="New conversation").click()
    expect(page.get_by_role("log")).not_to_contain_text("Is running bad")


def test_handle_and_events_without_words(visit, foreign_site):
    page = visit(foreign_site)
    page.evaluate(
        """() => { document.told = [];
            for (const name of ['open', 'question', 'answer', 'close']) document.addEventListener(`backtalk:${name}`, e => document.told.push([name, e.detail])) }"""
    )
    page.evaluate("Backtalk.ask('my zebra back hurts after running')")
    expect(page.get_by_role("dialog").get_by_role("group", name="Was this helpful?")).to_be_visible()
    page.evaluate("Backtalk.close()")
    told = page.evaluate("document.told")
    assert [name for name, _ in told] == ["open", "question", "answer", "close"]
    assert set(told[2][1]) == {"outcome", "level", "citations"} and "zebra" not in str(told)
    page.evaluate("Backtalk.destroy()")
    expect(page.get_by_role("button", name="Ask us")).to_have_count(0)
    page.evaluate("Backtalk.mount({title: 'Mounted again'}); Backtalk.mount()")
    expect(page.get_by_role("button", name="Mounted again")).to_have_count(1)


def test_thumbs_are_sent_without_the_conversation(visit, foreign_site):
    page = visit(foreign_site)
    dialog = opened(page)
    ask(page, "heat or ice?")
    with page.expect_request("**/api/feedback") as sent:
        dialog.get_by_role("button", name="Yes, helpful").click()
    assert sent.value.post_data_json == {"rating": "up", "consent": False}
    assert sent.value.response().status == 201


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone_of_320_px_is_filled_without_sideways_scrolling(visit, server, scheme):
    page = visit(f"{server}/demo", width=320, height=568, color_scheme=scheme, reduced_motion="reduce")
    page.get_by_role("button", name="Ask about your back").click()
    dialog = page.get_by_role("dialog")
    assert dialog.bounding_box() == {"x": 0, "y": 0, "width": 320, "height": 568}
    assert dialog.evaluate("e => getComputedStyle(e).animationName") == "none"
    page.get_by_label("Your question").fill(RED_FLAG)
    page.get_by_role("button", name="Send").click()
    page.get_by_role("alert").wait_for()
    wide = "e => [...e.querySelectorAll('*')].filter(n => n.getBoundingClientRect().right > 321).map(n => n.className)"
    assert dialog.evaluate(wide) == []
    background = dialog.evaluate("e => getComputedStyle(e).backgroundColor")
    assert (background == "rgb(255, 255, 255)") is (scheme == "light")


def test_no_request_leaves_the_two_origins(visit, foreign_site, server):
    page = visit(foreign_site)
    dialog = opened(page)
    ask(page, "Is running bad for my back?")
    dialog.get_by_role("button", name="Source 1:").first.click()
    assert page.requests and all(url.startswith((server, foreign_site)) for url in page.requests)


def test_frame_in_another_language_and_direction(visit, foreign_site, server):
    page = visit(foreign_site)
    page.evaluate("Backtalk.destroy(); Backtalk.mount({lang: 'ar'})")
    page.evaluate("Backtalk.open()")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="محادثة جديدة")).to_be_visible()
    assert dialog.evaluate("e => getComputedStyle(e).direction") == "rtl"
    assert f"{server}/widget/ar.json" in page.requests
    page.evaluate("Backtalk.destroy(); Backtalk.mount({lang: 'xx', title: 'Ask us'})")
    # Of a language that there is not: English; and it was open before.
    expect(page.get_by_role("dialog").get_by_role("button", name="New conversation")).to_be_visible()


def test_key_and_topics_are_sent(visit, foreign_site):
    page = visit(foreign_site)
    page.evaluate("Backtalk.destroy(); Backtalk.mount({key: 'club', topics: 'running, exercise', title: 'Ask us'})")
    opened(page)
    with page.expect_request("**/api/chat") as sent:
        ask(page, "heat or ice?")
    assert sent.value.headers["authorization"] == "Bearer club"
    assert sent.value.post_data_json["topics"] == ["running", "exercise"]


def test_mounted_and_unmounted_by_a_single_page_app(visit, foreign_site):
    """Each view puts it on and takes it off; nothing of it stays behind, and the conversation is there again."""
    page = visit(foreign_site)
    page.evaluate("Backtalk.ask('Is running bad for my back?')")
    page.get_by_role("dialog").get_by_role("button", name="Source 1:").wait_for()
    for _ in range(3):
        page.evaluate("Backtalk.destroy(); document.body.replaceChildren()")
        assert page.evaluate("document.querySelectorAll('backtalk-widget').length") == 0
        page.evaluate("Backtalk.mount()")
    expect(page.get_by_role("dialog").get_by_role("button", name="Source 1:")).to_be_visible()


def test_it_does_not_move_the_page_nor_hold_it_up(visit, foreign_site):
    page = visit(foreign_site)
    page.get_by_role("button", name="Ask us").wait_for()
    shift = """() => new Promise(done => new PerformanceObserver(list => done(list.getEntries().reduce((sum, e) => sum + e.value, 0)))
        .observe({type: 'layout-shift', buffered: true})).catch(() => 0)"""
    moved = page.evaluate(f"Promise.race([({shift})(), new Promise(done => setTimeout(() => done(0), 300))])")
    assert moved == 0
