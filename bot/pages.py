"""Renders articles and the list of them as plain, accessible pages; the sentences keep their marks to the sources below."""

from collections.abc import Iterable
from functools import lru_cache
from importlib import resources

from jinja2 import Environment, select_autoescape

from bot.cite import STATUS
from ingest.chunk import Chunk
from ingest.index import Index

SURE = {
    "strong": "The evidence is strong.",
    "moderate": "The evidence is moderate.",
    "limited": "The evidence is limited.",
    "mixed": "The evidence is mixed.",
}
TOPICS = {
    "running": "Running", "basics": "The basics", "causes": "Causes", "self-care": "Help yourself", "exercise": "Exercise", "medicines": "Medicines",
    "therapies": "Treatments", "imaging": "Scans and tests", "conditions": "Conditions", "special-groups": "For some people", "mind-sleep": "Mind and sleep",
    "work": "Work and daily life", "prognosis": "What to expect", "prevention": "Prevention", "professionals": "Seeing someone", "red-flags": "When to get help",
    "living-with-pain": "Living with pain", "myths": "Myths",
}  # fmt: skip


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(autoescape=select_autoescape(default=True, default_for_string=True), trim_blocks=True, lstrip_blocks=True)


def _page(name: str, **values: object) -> str:
    template = (resources.files("bot") / "pages" / name).read_text(encoding="utf-8")
    return _environment().from_string(template).render(**values)


def render_article(index: Index, article_id: str) -> str | None:
    """Return the page of an article, or None if the index holds none of that id."""
    chunks = [chunk for chunk in index.chunks.values() if chunk.article_id == article_id]
    if not chunks:
        return None
    numbers: dict[str, int] = {}
    for chunk in chunks:
        for sentence in chunk.sentences:
            for key in sentence.sources:
                if key in index.sources:
                    numbers.setdefault(key, len(numbers) + 1)
    first = chunks[0]
    return _page(
        "article.html",
        article=first,
        sections=list(_sections(chunks, numbers)),
        sources=[(number, index.sources[key]) for key, number in numbers.items()],
        sure=SURE[first.evidence],
        topic=TOPICS.get(first.topic, first.topic),
        status=STATUS.get(first.status, first.status),
    )


def render_kb_index(index: Index) -> str:
    """Return the page that lists every article by topic."""
    groups: dict[str, dict[str, str]] = {topic: {} for topic in TOPICS}
    for chunk in index.chunks.values():
        groups.setdefault(chunk.topic, {})[chunk.article_id] = chunk.title
    return _page(
        "index.html",
        groups=[(TOPICS.get(topic, topic), sorted(titles.items(), key=lambda t: t[1])) for topic, titles in groups.items() if titles],
    )


def _sections(chunks: Iterable[Chunk], numbers: dict[str, int]) -> Iterable[dict[str, object]]:
    """Yield sections with their blocks: paragraphs and lists of (words, numbers of the sources)."""
    by_anchor: dict[str, dict[str, object]] = {}
    for chunk in chunks:
        section = by_anchor.setdefault(chunk.anchor, {"anchor": chunk.anchor, "heading": chunk.heading, "blocks": []})
        blocks: list[tuple[str, list[tuple[str, list[int]]]]] = section["blocks"]  # type: ignore[assignment]
        for sentence in chunk.sentences:
            kind = "list" if sentence.is_item else "lead" if sentence.is_lead else "text"
            entry = (sentence.text, [numbers[key] for key in sentence.sources if key in numbers])
            if blocks and blocks[-1][0] == kind:
                blocks[-1][1].append(entry)
            else:
                blocks.append((kind, [entry]))
    return by_anchor.values()
