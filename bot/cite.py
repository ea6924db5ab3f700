"""Sets the marks: every sentence of content gets the numbers of the passages that support it, each number once described."""

from collections.abc import Sequence

from bot.turn import Citation, DraftSentence, SourceRef
from ingest.index import Index

STATUS = {"source-checked": "written from cited sources, not yet reviewed by a clinician", "clinician-reviewed": "reviewed by a clinician"}


def resolve(sentences: Sequence[DraftSentence], index: Index) -> tuple[str, list[Citation]]:
    """Return the answer as Markdown with its marks, and one citation a mark, numbered in order of appearance.

    What comes from another article begins a paragraph of its own, unless it would leave a single sentence alone.

    A sentence that is no lead-in and cites nothing, or a chunk that the index does not hold, or words that the chunk does
    not hold verbatim, is left out: a claim without a source is never shown.
    """
    citations: list[Citation] = []
    numbers: dict[tuple[str, str], int] = {}
    blocks: list[str] = []
    pending_lead = ""
    article, run = "", 0  # what the paragraph is from, and how many sentences it has
    for sentence in sentences:
        if sentence.is_lead:
            pending_lead = sentence.text
            continue
        marks, source = [], ""
        for chunk_id, quote in sentence.cites:
            chunk = index.chunks.get(chunk_id)
            if chunk is None or quote not in chunk.text:
                continue
            source = source or chunk.article_id
            key = (chunk_id, quote)
            if key not in numbers:
                numbers[key] = len(citations) + 1
                citations.append(cite(index, chunk_id, quote, numbers[key]))
            marks.append(f"[{numbers[key]}]")
        if not marks:
            continue
        text = f"{sentence.text} {''.join(marks)}"
        if sentence.is_item:
            if pending_lead:
                blocks.append(f"\n\n{pending_lead}\n")
            blocks.append(f"\n- {text}")
            run = 0
        else:
            previous_item = bool(blocks) and blocks[-1].startswith("\n- ")
            apart = previous_item or (run > 1 and source != article)
            blocks.append(("\n\n" if apart else " " if blocks else "") + text)
            article, run = source, 1 if apart else run + 1
        pending_lead = ""
    return "".join(blocks).strip(), citations


def cite(index: Index, chunk_id: str, quote: str, number: int) -> Citation:
    """Describe one citation; its sources are those that the vetted sentence itself names."""
    chunk = index.chunks[chunk_id]
    keys = next((s.sources for s in chunk.sentences if s.text == quote), None)
    if keys is None:
        keys = tuple(dict.fromkeys(key for s in chunk.sentences for key in s.sources))
    return Citation(
        n=number,
        chunk_id=chunk_id,
        article_id=chunk.article_id,
        title=chunk.title,
        section=chunk.heading,
        quote=quote,
        url=f"/kb/{chunk.article_id}#{chunk.anchor}",
        sources=[
            SourceRef(id=s.id, title=s.title, publisher=s.publisher, year=s.year, url=s.link)
            for s in (index.sources[key] for key in keys if key in index.sources)
        ],
        evidence=chunk.evidence,
        checked=chunk.checked,
        review_status=STATUS.get(chunk.status, chunk.status),
    )
