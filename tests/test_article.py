from types import SimpleNamespace

import pytest

from bot.pages import render_article, render_kb_index
from ingest.chunk import Chunk
from kb.article import Sentence, join_sentences, parse_article, read_articles, slugify

FRONT = """---
id: a
title: A title
topic: basics
audience: [general]
evidence: limited
questions: {}
safety_net: a#why
written: 2026-01-01
checked: 2026-01-01
review_due: 2099-01-01
status: source-checked
---
"""


def problems(body: str, front: str = FRONT) -> list[str]:
    return [str(problem) for problem in parse_article("articles/a.md", front + body)[1]]


def test_reads_sentences_with_their_sources_and_lines():
    article, found = parse_article("articles/a.md", FRONT + "\n## Why?\n\nOne thing is so [@one].\nAnother may be so [@one; @two]!\n")
    assert not found
    assert article.sections[0].sentences == (
        Sentence("One thing is so.", ("one",), 17),
        Sentence("Another may be so!", ("one", "two"), 18),
    )


def test_a_list_keeps_its_lead_and_items():
    article, found = parse_article(
        "articles/a.md", FRONT + "\n## How?\n\nDo this:\n\n1. Walk [@one].\n2. Rest [@two].\n\nThen stop [@one].\n"
    )
    assert not found
    assert article.sections[0].text == "Do this:\n- Walk.\n- Rest.\nThen stop."


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param("\n## Why?\n\nNobody cites this.\n", "articles/a.md:17: uncited claim: 'Nobody cites this.'", id="no-citation"),
        pytest.param(
            "\n## Why?\n\nFirst claim. Second claim [@one].\n", "articles/a.md:17: uncited claim: 'First claim.'", id="one-mark-for-two"
        ),
        pytest.param("\n## Why?\n\nBad key [@One Two].\n", "articles/a.md:17: malformed citation", id="bad-key"),
        pytest.param("\n## Why?\n\n", "articles/a.md:15: section 'Why?' is empty", id="empty-section"),
        pytest.param("\n## Why?\n\nA [@x].\n\n## Why?\n\nB [@x].\n", "duplicate section 'why'", id="same-heading"),
        pytest.param("\nText [@x].\n", "text stands before the first", id="no-heading"),
        pytest.param("\n## Why?\n\n<script>alert(1)</script>\n", "html block is not allowed", id="html"),
        pytest.param("\n# Big\n\n## Why?\n\nA [@x].\n", "a heading other than '##'", id="h1"),
        pytest.param("", "no sections", id="nothing"),
    ],
)
def test_form_problems_name_their_line(body, expected):
    assert any(expected in problem for problem in problems(body)), problems(body)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(("evidence: limited\n", ""), "evidence: Field required", id="missing-field"),
        pytest.param(("evidence: limited", "evidence: sure"), "articles/a.md:6: evidence:", id="bad-value"),
        pytest.param(("title: A title", "colour: red\ntitle: A title"), "articles/a.md:3: colour: Extra inputs", id="unknown-key"),
        pytest.param(("questions: {}", "questions: {no-such: [x]}"), "no section has the anchor 'no-such'", id="question-without-section"),
        pytest.param(("title: A title", "title: [A"), "front matter is not YAML", id="not-yaml"),
    ],
)
def test_front_matter_problems_name_their_line(change, expected):
    front = FRONT.replace(*change)
    assert any(expected in problem for problem in problems("\n## Why?\n\nA [@x].\n", front)), problems("\n## Why?\n\nA [@x].\n", front)


def test_a_pasted_page_is_refused_with_what_is_missing():
    article, found = parse_article("articles/seed.md", "Best treatment for back pain\nIt is simple.\n")
    assert article is None
    assert "no front matter; unvetted text is refused" in str(found[0])
    assert "evidence" in str(found[0])
    assert "no source is cited on 2 of its lines" in str(found[1])


def test_an_unreadable_file_does_not_stop_the_others(tiny_kb):
    (tiny_kb / "articles" / "broken.md").write_bytes(b"\xff\xfe\x00")
    articles, found = read_articles(tiny_kb)
    assert len(articles) == 3
    assert str(found[0]).startswith("articles/broken.md:1: cannot be read")


def test_slugs_are_plain():
    assert slugify("What's “this”, really?") == "whats-this-really"


def test_joined_text_holds_each_sentence_verbatim():
    sentences = [Sentence("Do:", (), 1, is_lead=True), Sentence("A b.", ("x",), 2, is_item=True), Sentence("C d.", ("x",), 3)]
    assert all(sentence.text in join_sentences(sentences) for sentence in sentences)


@pytest.mark.parametrize("link", ["javascript:alert(1)", "data:text/html,x", 'https://example.org/"onmouseover="alert(1)'])
def test_page_of_a_hostile_article_brings_nothing_to_life(link):
    """Vetting refuses such an article; the page does not rely on that."""
    evil = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    chunk = Chunk(
        id="a#b/01", article_id="a", title=evil, heading=evil, anchor=evil, topic=evil, audience=(evil,), evidence="limited", checked=evil,
        review_due=evil, status=evil, safety_net="", text=evil, questions=(),
        sentences=(Sentence(evil, ("s",), 1), Sentence(evil, (), 1, is_lead=True), Sentence(evil, ("s",), 1, is_item=True)),
    )  # fmt: skip
    source = SimpleNamespace(id="s", title=evil, publisher=evil, year=evil, link=link)
    index = SimpleNamespace(chunks={chunk.id: chunk}, sources={"s": source})
    for page in (render_article(index, "a"), render_kb_index(index)):
        assert "&lt;script&gt;" in page and "<script" not in page and "<img" not in page
        assert "javascript:" not in page and "data:text" not in page and '"onmouseover' not in page
