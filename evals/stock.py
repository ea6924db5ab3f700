"""The retrieval that LangChain's tutorials build, as a baseline: recursive splitter, Chroma, the four nearest pieces given whole.

It sees the same articles and the same embedding model as the product, so that only the building differs.
"""

from collections.abc import Callable
from pathlib import Path

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from bot.retrieve import Retriever
from evals.case import Case
from evals.measure import Observed
from evals.reply_text import sentences_of
from ingest.chunk import digest
from ingest.embed import Embedder

PIECE = 1000
OVERLAP = 200
"""In characters: the numbers of LangChain's own tutorial on retrieval."""
TOP = 4
BATCH = 500
Search = Callable[[str, int], list[Document]]


class SameEmbeddings(Embeddings):
    """The product's embedding model as LangChain knows one."""

    def __init__(self, embedder: Embedder) -> None:
        """Keep the model."""
        self.embedder = embedder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one vector a text."""
        return [[float(x) for x in vector] for vector in self.embedder.embed(texts)]

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a query."""
        return self.embed_documents([text])[0]


def open_stock(retriever: Retriever, folder: Path) -> Search:
    """Index the retriever's articles the stock way, or open what an earlier run left in `folder`, and return its search."""
    from langchain_chroma import Chroma
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    articles: dict[str, list[str]] = {}
    for chunk in retriever.index.chunks.values():
        articles.setdefault(chunk.article_id, [f"# {chunk.title}"]).append(f"## {chunk.heading}\n\n{chunk.text}")
    splitter = RecursiveCharacterTextSplitter(chunk_size=PIECE, chunk_overlap=OVERLAP)
    pieces = splitter.create_documents(["\n\n".join(parts) for parts in articles.values()], [{"article": name} for name in articles])
    name = f"stock-{digest(chr(10).join([retriever.embedder.name, *(piece.page_content for piece in pieces)]))}"
    store = Chroma(
        collection_name=name,
        embedding_function=SameEmbeddings(retriever.embedder),
        persist_directory=str(folder / "stock"),
        collection_metadata={"hnsw:space": "cosine"},
    )
    # Fewer than all: an earlier run was stopped while it was writing.
    if len(store.get(include=[])["ids"]) != len(pieces):
        store.reset_collection()
        for start in range(0, len(pieces), BATCH):
            store.add_documents(pieces[start : start + BATCH], ids=[str(i) for i in range(start, min(start + BATCH, len(pieces)))])
    return lambda query, k: store.similarity_search(query, k=k)


def dump(search: Search, case: Case) -> Observed:
    """Answer with the four nearest pieces whole; each sentence carries the mark of its piece, which is more than the stock chain gives."""
    pieces = search(case.messages[-1].content, TOP)
    lines = [f"{s} [{n}]" for n, piece in enumerate(pieces, start=1) for s in sentences_of(piece.page_content) if s[0] != "#"]
    citations = [
        {"n": n, "chunk_id": f"piece-{n}", "article_id": piece.metadata["article"], "quote": piece.page_content}
        for n, piece in enumerate(pieces, start=1)
    ]
    reply = {"text": "\n".join(lines), "outcome": "answered", "escalation": None, "citations": citations}
    return {
        "reply": reply,
        "passages": {f"piece-{n}": piece.page_content for n, piece in enumerate(pieces, start=1)},
        "confidence": None,
        "retrieved": None,
    }
