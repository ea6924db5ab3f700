"""Measures retrieval on its own: where the right articles stand among those found, each as high as its best passage.

Rivals, over the same passages: the product's own legs alone, vectors and words, and both without the reranker where there is one, so that
each part's worth is seen. As a baseline, the retrieval that LangChain's tutorials build.
"""

import inspect
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from bot.retrieve import Retriever
from bot.settings import Settings
from evals.case import Case, read_questions
from evals.corpus import corpus_digest, open_corpus, read_beir
from evals.live import open_retriever
from evals.measure import Measure, Observe, Observed, Opened, Scored
from evals.metrics import mrr_at_k, ndcg_at_k, recall_at_k
from evals.progress import Tick
from evals.stock import open_stock
from evals.suite import Suite
from ingest.cli import BadInput

PASSAGES = 50
"""How many passages are asked for, so that enough articles are left when each counts once."""
RECORDS = 100
METRICS = ("ndcg@10", "mrr@10", "recall@1", "recall@5", "recall@10")
DEPTH = 10


def read_retrieval(suite: Suite) -> list[Case]:
    """Read judged queries: a folder in BEIR's layout, or answerable questions, whose right article is the labelled one."""
    folders = [path for path in suite.data if path.is_dir()]
    if folders:
        if len(suite.data) > 1:
            raise BadInput(f"{folders[0]}: a BEIR folder is measured alone")
        return read_beir(folders[0])
    questions = [case for case in read_questions(suite.data) if case.expected["kind"] == "answerable"]
    if not questions:
        raise BadInput(f"{suite.data[0]}: no answerable question")
    return [
        Case(
            case.id, case.given, case.expected | {"grades": dict.fromkeys([case.expected["article"], *case.expected["also"]], 1)}, case.tags
        )
        for case in questions
    ]


def open_retrieval(settings: Settings, suite: Suite, tick: Tick | None) -> Opened:
    """Open the live index, or index the corpus of a BEIR folder."""
    folder: Path = suite.data[0]
    if not folder.is_dir():
        retriever = open_retriever(settings)
        return opened_over(retriever, identity=retriever.index.manifest.fingerprint, folder=settings.index / "evals")
    retriever = open_corpus(folder, settings, progress=partial(tick, "embedding") if tick else None)
    return opened_over(retriever, identity=corpus_digest(folder), folder=settings.index / "evals")


def opened_over(retriever: Retriever, *, identity: str = "", folder: Path | None = None) -> Opened:
    """Return what is observed of a retriever, and its rivals over the same passages; baselines keep their index in `folder`."""

    def whole(case: Case, **options: Any) -> Observed:
        query = case.messages[-1].content
        return _ranked(case, [p.chunk.article_id for p in retriever.search(query, top_k=PASSAGES, **options)])

    def dense(case: Case) -> Observed:
        near = retriever.index.nearest(retriever.embed(case.messages[-1].content), records=RECORDS)
        return _ranked(case, [retriever.index.chunks[i].article_id for i in sorted(near, key=lambda i: (-near[i], i))])

    def lexical(case: Case) -> Observed:
        return _ranked(case, [retriever.index.chunks[i].article_id for i in by_words(retriever, case.messages[-1].content)])

    rivals: dict[str, Observe] = {"vectors only": dense, "words only (BM25)": lexical}
    if "rerank" in inspect.signature(retriever.search).parameters:
        rivals["not reranked"] = partial(whole, rerank=False)
    return Opened(whole, rivals, identity, baselines={"stock LangChain": lambda: _stock(retriever, folder)} if folder else {})


def by_words(retriever: Retriever, query: str) -> list[str]:
    """Return the ids of the chunks that the product's lexical leg finds, best first."""
    found = retriever.lexical(retriever.expand(query))
    return sorted(found, key=lambda name: (-found[name], name))


def _stock(retriever: Retriever, folder: Path) -> Observe:
    search = open_stock(retriever, folder)
    return lambda case: _ranked(case, [piece.metadata["article"] for piece in search(case.messages[-1].content, PASSAGES)])


def _ranked(case: Case, articles: Iterable[str]) -> Observed:
    """Return articles in order of their best passage; one with the query's own id is left out, as BEIR does."""
    return {"ranking": [name for name in dict.fromkeys(articles) if name != case.id][:DEPTH]}


def score(case: Case, observed: Observed) -> Scored:
    """Score a ranking; it passes when a right article stands among the first five."""
    ranking, grades = observed["ranking"], case.expected["grades"]
    scores = {
        "ndcg@10": ndcg_at_k(ranking, grades, 10),
        "mrr@10": mrr_at_k(ranking, grades, 10),
        **{f"recall@{k}": recall_at_k(ranking, grades, k) for k in (1, 5, 10)},
    }
    passed = mrr_at_k(ranking, grades, 5) > 0
    return Scored(scores, passed, ", ".join(ranking[:5]), "" if passed else "no right article among the first five")


RETRIEVAL = Measure("retrieval", METRICS, read_retrieval, open_retrieval, score)
