"""Renders articles and the list of them as plain, accessible pages; the sentences keep their marks to the sources below."""

import datetime as dt
from collections.abc import Iterable
from typing import Any

from bot.cite import STATUS
from bot.render import render
from bot.turn import Citation
from ingest.chunk import Chunk
from ingest.index import Index
from kb.article import Sentence

SURE = {
    "strong": "The evidence is strong.",
    "moderate": "The evidence is moderate.",
    "limited": "The evidence is limited.",
    "mixed": "The evidence is mixed.",
}
NONE_REVIEWED = "The articles are written from cited sources and have not yet been reviewed by a clinician."
SOME_REVIEWED = "{reviewed} of {all} articles have been reviewed by a clinician; the others are written from cited sources and wait for it."
ALL_REVIEWED = "All {all} articles have been reviewed by a clinician."
TOPICS = {
    "running": "Running", "basics": "The basics", "causes": "Causes", "self-care": "Help yourself", "exercise": "Exercise", "medicines": "Medicines",
    "therapies": "Treatments", "imaging": "Scans and tests", "conditions": "Conditions", "special-groups": "For some people", "mind-sleep": "Mind and sleep",
    "work": "Work and daily life", "prognosis": "What to expect", "prevention": "Prevention", "professionals": "Seeing someone", "red-flags": "When to get help",
    "living-with-pain": "Living with pain", "myths": "Myths",
}  # fmt: skip


def review_note(index: Index | None) -> str:
    """Say how much of the content a clinician has reviewed."""
    statuses = {chunk.article_id: chunk.status for chunk in index.chunks.values()} if index else {}
    reviewed = sum(status == "clinician-reviewed" for status in statuses.values())
    if not reviewed:
        return NONE_REVIEWED
    return (ALL_REVIEWED if reviewed == len(statuses) else SOME_REVIEWED).format(reviewed=reviewed, all=len(statuses))


def day(iso: str) -> str:
    """Return a date as people write it: 22 November 2026; what is no date is returned as it is."""
    try:
        date = dt.date.fromisoformat(iso)
    except ValueError:
        return iso
    return f"{date.day} {date:%B %Y}"


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
    return render(
        "article.html",
        article=first,
        sections=list(_sections(chunks, numbers)),
        sources=[(number, index.sources[key]) for key, number in numbers.items()],
        sure=SURE[first.evidence],
        topic=TOPICS.get(first.topic, first.topic),
        status=STATUS.get(first.status, first.status),
        day=day,
    )


def render_kb_index(index: Index) -> str:
    """Return the page that lists every article by topic."""
    groups: dict[str, dict[str, Chunk]] = {topic: {} for topic in TOPICS}
    for chunk in index.chunks.values():
        groups.setdefault(chunk.topic, {}).setdefault(chunk.article_id, chunk)
    shown = [
        (topic, TOPICS.get(topic, topic), sorted(firsts.values(), key=lambda c: c.title)) for topic, firsts in groups.items() if firsts
    ]
    return render("index.html", groups=shown, count=sum(len(articles) for _, _, articles in shown), status=STATUS, note=review_note(index))


def passage(index: Index, citation: Citation) -> list[tuple[str, list[tuple[str, bool]]]]:
    """Return the section that a citation quotes from: blocks of a kind (text, lead or list), each sentence with whether it is quoted.

    Empty if the index does not hold the quoted words, or not any more.
    """
    quoted = index.chunks.get(citation.chunk_id)
    if quoted is None or citation.quote not in quoted.text:
        return []
    blocks: list[tuple[str, list[tuple[str, bool]]]] = []
    for chunk in index.chunks.values():
        if (chunk.article_id, chunk.anchor) != (quoted.article_id, quoted.anchor):
            continue
        for sentence in chunk.sentences:
            said = chunk is quoted and (sentence.text in citation.quote or citation.quote in sentence.text)
            kind = _kind(sentence)
            if blocks and blocks[-1][0] == kind:
                blocks[-1][1].append((sentence.text, said))
            else:
                blocks.append((kind, [(sentence.text, said)]))
    return blocks if any(said for _, sentences in blocks for _, said in sentences) else []


def render_api(interface: dict[str, Any]) -> str:
    """Return the page that describes the HTTP interface, from its OpenAPI description."""
    routes = [
        (method.upper(), path, operation.get("summary", ""), _fields(operation, interface))
        for path, operations in interface["paths"].items()
        for method, operation in operations.items()
    ]
    return render("api.html", routes=routes)


def _fields(operation: dict[str, Any], interface: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """Return name, kind and whether it is needed, of each field of a request's body."""
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    schema = interface["components"]["schemas"].get(body.get("$ref", "").rpartition("/")[2], {})
    needed = schema.get("required", [])
    return [(name, _type(field), name in needed) for name, field in schema.get("properties", {}).items()]


def _type(field: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_type(part) for part in field["anyOf"] if part.get("type") != "null")
    if "enum" in field:
        return " or ".join(str(value) for value in field["enum"])
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}"
    return str(field.get("type") or field.get("$ref", "").rpartition("/")[2])


def _sections(chunks: Iterable[Chunk], numbers: dict[str, int]) -> Iterable[dict[str, object]]:
    """Yield sections with their blocks: paragraphs and lists of (words, numbers of the sources)."""
    by_anchor: dict[str, dict[str, object]] = {}
    for chunk in chunks:
        section = by_anchor.setdefault(chunk.anchor, {"anchor": chunk.anchor, "heading": chunk.heading, "blocks": []})
        blocks: list[tuple[str, list[tuple[str, list[int]]]]] = section["blocks"]  # type: ignore[assignment]
        for sentence in chunk.sentences:
            kind = _kind(sentence)
            entry = (sentence.text, [numbers[key] for key in sentence.sources if key in numbers])
            if blocks and blocks[-1][0] == kind:
                blocks[-1][1].append(entry)
            else:
                blocks.append((kind, [entry]))
    return by_anchor.values()


def _kind(sentence: Sentence) -> str:
    return "list" if sentence.is_item else "lead" if sentence.is_lead else "text"
