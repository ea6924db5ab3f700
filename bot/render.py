"""Turns the words of a reply into safe HTML: all escaped, the few marks of Markdown that replies use, citation marks, numbers to call.

No link, image or markup of a message, an article or a model survives: the reader knows paragraphs, lists, rules and emphasis, and nothing else.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources

from jinja2 import Environment, StrictUndefined, select_autoescape
from markdown_it import MarkdownIt
from markupsafe import Markup, escape

from kb.red_flags import Policy, read_policy

NUMBER = re.compile(r"\d[\d -]+\d")
MARK = re.compile(r"([^\s<>\]]*)( ?)\[(\d{1,4})\]")
RULE = "<hr>"


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Return the templates' environment: everything is escaped, a missing value is an error."""
    made = Environment(autoescape=select_autoescape(default=True, default_for_string=True), trim_blocks=True, lstrip_blocks=True)
    made.undefined = StrictUndefined
    return made


def render(name: str, **values: object) -> str:
    """Fill in the template `bot/pages/<name>`."""
    return environment().from_string(page_file(name)).render(**values)


def page_file(name: str) -> str:
    """Return the text of `bot/pages/<name>`."""
    return (resources.files("bot") / "pages" / name).read_text(encoding="utf-8")


def to_html(text: str, *, marks: Mapping[int, str] | None = None, calls: bool = False) -> Markup:
    """Return a reply's text as HTML that is safe to show.

    Args:
        text: the subset of Markdown that replies are written in.
        marks: HTML for the mark of each number; a number that is not among them stays as it is written.
        calls: whether the numbers of the policy become `tel:` links, up to the first rule (what follows it is no advice).
    """
    html = _reader().render(text)
    if calls:
        advice, rule, answer = html.partition(RULE)
        html = call_links(advice) + rule + answer
    if marks:
        html = MARK.sub(lambda found: _set_mark(found, marks), html)
    return Markup(html)


def _set_mark(found: re.Match[str], marks: Mapping[int, str]) -> str:
    """Return a mark together with the word before it, so that both stand on one line."""
    word, space, number = found.groups()
    if int(number) not in marks:
        return found[0]
    return f'<span class="bt-keep">{word}{space and "&nbsp;"}{marks[int(number)]}</span>'


def call_links(html: str) -> str:
    """Return escaped text with the policy's phone numbers as links."""
    return _to_call().sub(lambda found: f'<a href="tel:{re.sub(r"[^0-9]", "", found[0])}">{found[0]}</a>', html)


def numbers_to_call(policy: Policy) -> list[str]:
    """Return every phone number of every region, the longest first."""
    texts = [str(text) for place in policy.regions.values() for text in place.model_dump().values()]
    found = {number for text in texts for number in NUMBER.findall(text) if len(re.sub(r"\D", "", number)) >= 3}
    return sorted(found, key=lambda number: (-len(number), number))


def plain(text: str) -> Markup:
    """Return text escaped, as markup."""
    return escape(text)


@lru_cache(maxsize=1)
def _reader() -> MarkdownIt:
    return MarkdownIt("zero").enable(["emphasis", "list", "hr", "newline"])


@lru_cache(maxsize=1)
def _to_call() -> re.Pattern[str]:
    return re.compile(r"(?<![\d-])(?:" + "|".join(re.escape(number) for number in numbers_to_call(read_policy())) + r")(?![\d-])")
