"""A conversation as the page shows, saves and prints it: nothing that others wrote comes to life, and nothing of it is lost."""

import datetime as dt
from html.parser import HTMLParser

import pytest
from pydantic import ValidationError

from bot.pages import passage
from bot.render import call_links, numbers_to_call, to_html
from bot.talk import MAX_EXCHANGES, Exchange, Talk, read_talk, show_banner, show_draft, show_log, show_sheet, show_source, to_markdown
from bot.turn import Citation, Escalation, FlagFound, Reply, SourceRef
from kb.red_flags import read_policy

NOW = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
EVIL = '<img src=x onerror=alert(1)> ![p](https://evil.example/p.png) [l](javascript:alert(1)) " onmouseover="alert(1) \'"><script>alert(1)</script>'


def citation(n: int = 1, **fields) -> Citation:
    source = SourceRef(id="s", title="A trial", publisher="A journal", year=2020, url="https://example.org/trial")
    given = {
        "title": "Running",
        "section": "Is it safe?",
        "quote": "It is.",
        "url": "/kb/running#safe",
        "sources": [source],
        "evidence": "moderate",
    }
    return Citation(**{"n": n, "chunk_id": "running#safe/01", "article_id": "running", "checked": "2026-11-01", **given, **fields})


def talk(*replies: Reply) -> Talk:
    return Talk(region="GB", exchanges=[Exchange(question=f"Question {i}?", reply=reply) for i, reply in enumerate(replies)])


def answered(text: str = "It is safe. [1]", **fields) -> Reply:
    return Reply(**{"text": text, "outcome": "answered", "citations": [citation()], **fields})


class _Seen(HTMLParser):
    """Every tag with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def dangers(html: str) -> list[object]:
    """What could run, load or lead astray."""
    tags = _Seen(html).tags
    bad = [tag for tag, _ in tags if tag in ("script", "img", "iframe", "object", "embed", "form", "link", "style", "video", "base")]
    bad += [(tag, name) for tag, attrs in tags for name in attrs if name.startswith("on") or name in ("srcdoc", "style", "formaction")]
    return bad + [
        attrs["href"] for tag, attrs in tags if "href" in attrs and not str(attrs["href"]).startswith(("https://", "tel:", "kb/"))
    ]


def hostile() -> Talk:
    source = SourceRef(id=EVIL, title=EVIL, publisher=EVIL, year=EVIL, url="javascript:alert(1)")
    cited = citation(title=EVIL, section=EVIL, quote=EVIL, url="/kb/x", sources=[source], evidence=EVIL, checked=EVIL, review_status=EVIL)
    flags = [FlagFound(code="other", evidence=EVIL, turn=0)]
    reply = Reply(
        text=f"{EVIL} **{EVIL}** [1]\n- {EVIL} [1]",
        outcome="escalated",
        escalation=Escalation(level="urgent", flags=flags, advice=EVIL),
        citations=[cited],
        follow_ups=[EVIL],
    )
    return Talk(exchanges=[Exchange(id=EVIL[:40], question=EVIL, reply=reply)])


def test_nothing_that_others_wrote_comes_to_life():
    conversation = hostile()
    reply = conversation.exchanges[0].reply
    shown = [
        show_log(conversation),
        show_banner(reply),
        show_source(reply.citations[0], None),
        show_draft(reply.text),
        show_sheet(conversation, NOW),
    ]
    assert [dangers(html) for html in shown] == [[], [], [], [], []]
    assert all("alert(1)" in html for html in shown), "it is shown, as words"


def test_the_check_itself_sees_a_danger():
    assert dangers('<p onclick="x"><img src=y></p><a href="javascript:1">z</a>') == ["img", ("p", "onclick"), "javascript:1"]


def test_saved_file_brings_nothing_to_life():
    text = to_markdown(hostile(), NOW)
    assert "<img" not in text.replace("\\<img", "") and "![p]" not in text.replace("\\![p\\]", "")
    assert "](javascript" not in text.replace("\\](javascript", "")


def test_saved_file_holds_questions_answers_and_sources():
    text = to_markdown(talk(answered()), NOW)
    assert "22 November 2026" in text and "> Question 0?" in text and "It is safe. [1]" in text
    assert "[1] Running: Is it safe?. Evidence: moderate. Checked 2026-11-01." in text
    assert "- A trial. A journal, 2020. <https://example.org/trial>" in text
    assert "&" not in text, "no HTML in a text file"


def test_quoted_words_cannot_end_their_quotation():
    conversation = Talk(exchanges=[Exchange(question="one\n\n# two\n> three")])
    lines = to_markdown(conversation, NOW).splitlines()
    assert "> # two" in lines and "# two" not in lines


@pytest.mark.parametrize(
    ("grades", "said"),
    [
        (["strong"], "The evidence is strong."),
        (["limited", "limited"], "The evidence is limited."),
        (["limited", "moderate", "limited", "limited"], "The evidence is limited for 1, 3 and 4; moderate for 2."),
        (["unheard of"], None),
        ([], None),
    ],
)
def test_how_sure_is_said_in_words(grades, said):
    html = show_log(talk(answered(citations=[citation(n, evidence=grade) for n, grade in enumerate(grades, start=1)])))
    assert ("How sure?" in html) is (said is not None) and (said or "") in html


def test_marks_become_buttons_and_foreign_numbers_stay_words():
    html = show_log(talk(answered("It is safe. [1] It is not. [9]")))
    marks = [attrs for tag, attrs in _Seen(html).tags if attrs.get("data-act") == "select"]
    assert [attrs["data-n"] for attrs in marks] == ["1"] and "[9]" in html
    assert marks[0]["aria-label"] == "Source 1: Running"


@pytest.mark.parametrize("text", ["It is **saf", "It is **safe** and [1", "It is *", "**", "[12", "- a\n- **b"])
def test_half_an_answer_is_shown_without_half_a_mark(text):
    html = show_draft(text)
    assert "**" not in html and "[1" not in html


def test_numbers_to_call_are_links_in_advice_only():
    advice = to_html("Call **999** or NHS 111.\n\n---\n\nIn 999 trials.", calls=True)
    assert advice.count("<a ") == 2 and 'href="tel:999"' in advice and 'href="tel:111"' in advice
    assert "In 999 trials" in advice
    assert call_links("1999 or 9990 or 99-9") == "1999 or 9990 or 99-9"
    assert all(
        any(number in str(place.model_dump()) for place in read_policy().regions.values()) for number in numbers_to_call(read_policy())
    )


def test_banner_says_what_to_do_or_the_whole_advice_when_the_check_broke():
    escalation = Escalation(level="emergency", flags=[FlagFound(code="other", evidence="e", turn=0)], advice="**Call 999 now.**\n\nMore.")
    html = show_banner(Reply(text="x", outcome="escalated", escalation=escalation))
    assert 'role="alert"' in html and "Get emergency help now" in html and "tel:999" in html and "More." not in html
    html = show_banner(Reply(text="x", outcome="error", escalation=escalation.model_copy(update={"flags": []})))
    assert "More." in html and "Please read this first" in html
    assert show_banner(answered()) == show_banner(None) == ""


def test_conversation_goes_to_the_browser_and_back():
    before = talk(answered(), answered("Yes. [1]"))
    assert read_talk(before.model_dump_json()) == before
    assert [message.role for message in before.messages()] == ["user", "assistant"] * 2


@pytest.mark.parametrize("kept", [None, "", "{", "[]", '{"exchanges": [{"question": 5}]}', '{"exchanges": {}, "other": 1}'])
def test_damaged_conversation_begins_anew(kept):
    assert read_talk(kept) == Talk()


def test_conversation_has_an_end():
    with pytest.raises(ValidationError):
        Talk(exchanges=[Exchange(question="q")] * (MAX_EXCHANGES + 1))


def test_passage_is_the_whole_section_with_the_quoted_words_marked(bot):
    index = bot.open_retriever().index
    chunk = next(chunk for chunk in index.chunks.values() if len(chunk.sentences) > 3 and not chunk.sentences[1].is_lead)
    quote = chunk.sentences[1].text
    cited = citation(chunk_id=chunk.id, article_id=chunk.article_id, quote=quote)
    said = [(text, quoted) for _, sentences in passage(index, cited) for text, quoted in sentences]
    assert (quote, True) in said and sum(quoted for _, quoted in said) == 1
    assert {sentence.text for sentence in chunk.sentences} <= {text for text, _ in said}
    assert passage(index, cited.model_copy(update={"chunk_id": "gone"})) == []
    assert passage(index, cited.model_copy(update={"quote": "never written"})) == []
