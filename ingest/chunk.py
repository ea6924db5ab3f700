"""Cuts articles into chunks: one section each, split between sentences only where the embedding model could not read it whole."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from ingest.embed import MAX_TOKENS, tokenizer
from kb.article import Article, Sentence, join_sentences

FORMAT = 4
"""Raised when chunks would come out otherwise for the same article, so that old indexes are rebuilt."""


@dataclass(frozen=True)
class Chunk:
    """The stored piece. `text` holds every sentence verbatim; `id` is readable and stable, `hash` follows its content."""

    id: str
    article_id: str
    title: str
    heading: str
    anchor: str
    topic: str
    audience: tuple[str, ...]
    evidence: str
    checked: str
    review_due: str
    status: str
    safety_net: str
    text: str
    sentences: tuple[Sentence, ...]
    questions: tuple[str, ...]

    @property
    def heading_path(self) -> str:
        """Where the chunk stands, from the general to the particular."""
        return f"{self.title}. {self.heading}" if self.heading else self.title

    @property
    def embedded_text(self) -> str:
        """What the model reads: the heading path, then the text."""
        return f"{self.heading_path}\n{self.text}"

    def sentence_text(self, number: int) -> str:
        """Return what the model reads of one sentence: the heading, which says what "it" is about, then the sentence."""
        return f"{self.heading} {self.sentences[number].text}".strip()

    @property
    def hash(self) -> str:
        """A digest of everything that is stored."""
        return digest(json.dumps(asdict(self), sort_keys=True))


def digest(text: str) -> str:
    """Return a short content digest (64 bits of SHA-256, hexadecimal)."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def chunk_articles(articles: Iterable[Article]) -> list[Chunk]:
    """Cut every article; the chunks of an article keep its order."""
    return [chunk for article in articles for chunk in chunk_article(article)]


def chunk_article(article: Article) -> list[Chunk]:
    """Cut one article at its headings, and a section too long for the model at sentence ends."""
    meta = article.meta
    chunks = []
    for section in article.sections:
        head = f"{meta.title}. {section.heading}\n"
        for number, sentences in enumerate(split_sentences(section.sentences, head), start=1):
            chunks.append(
                Chunk(
                    id=f"{meta.id}#{section.anchor}/{number:02}",
                    article_id=meta.id,
                    title=meta.title,
                    heading=section.heading,
                    anchor=section.anchor,
                    topic=meta.topic,
                    audience=tuple(meta.audience),
                    evidence=meta.evidence,
                    checked=meta.checked.isoformat(),
                    review_due=meta.review_due.isoformat(),
                    status=meta.status,
                    safety_net=meta.safety_net,
                    text=join_sentences(sentences),
                    sentences=sentences,
                    questions=section.questions,
                )
            )
    return chunks


def split_sentences(sentences: tuple[Sentence, ...], head: str) -> list[tuple[Sentence, ...]]:
    """Group sentences so that `head` and each group fit the model's window; a single longer sentence stays whole."""
    budget = MAX_TOKENS - len(tokenizer().encode(head).ids)
    groups: list[list[Sentence]] = [[]]
    used = 0
    for sentence in sentences:
        size = len(tokenizer().encode(sentence.text, add_special_tokens=False).ids) + (2 if sentence.is_item else 0)
        if groups[-1] and used + size > budget:
            groups.append([])
            used = 0
        groups[-1].append(sentence)
        used += size
    return [tuple(group) for group in groups if group]
