import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from bot.open import LiveRetriever
from bot.settings import Settings
from ingest.chunk import chunk_articles
from ingest.cli import ingest, vet_folder
from ingest.embed import DEFAULT_MODEL, MAX_TOKENS, PLAIN_MODEL, OnnxEmbedder, open_embedder, tokenizer, weights
from ingest.index import Index, IndexBusy, IndexMismatch, IndexMissing, Store
from kb.article import KB_DIR

pytestmark = pytest.mark.model

SECTION = "heat#does-heat-help-a-sore-back/01"


def build(kb: Path, store: Store, **options):
    return ingest(kb, store, model=DEFAULT_MODEL, rebuild=options.get("rebuild", False), reviewed_only=False, quiet=True)[0]


def edit(kb: Path, name: str, old: str, new: str) -> None:
    path = kb / "articles" / f"{name}.md"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")


def test_vectors_agree_with_sentence_transformers(models):
    from sentence_transformers import SentenceTransformer

    texts = ["numb", "Is running bad for my back?", "word " * 400, "Überlast, 10% more.", ""]
    theirs = SentenceTransformer(str(weights()), device="cpu", local_files_only=True).encode(texts, normalize_embeddings=True)
    assert np.abs(OnnxEmbedder(models, PLAIN_MODEL).embed(texts) - theirs).max() < 1e-4


def test_chunks_hold_every_sentence_once_and_fit_the_model():
    vetted = vet_folder(KB_DIR)
    chunks = chunk_articles(vetted.accepted)
    assert len({chunk.id for chunk in chunks}) == len(chunks)
    written = [sentence for article in vetted.accepted for section in article.sections for sentence in section.sentences]
    assert [sentence for chunk in chunks for sentence in chunk.sentences] == written
    assert all(sentence.text in chunk.text for chunk in chunks for sentence in chunk.sentences)
    assert max(len(tokenizer().encode(chunk.embedded_text).ids) for chunk in chunks) <= MAX_TOKENS


def test_a_second_ingest_embeds_nothing_and_keeps_the_build(tiny_kb, store, monkeypatch):
    first = build(tiny_kb, store)
    assert (first.documents, first.added, first.unchanged) == (3, 4, 0)
    monkeypatch.setattr("ingest.cli.open_embedder", lambda *_, **__: pytest.fail("the model was opened"))
    second = build(tiny_kb, store)
    assert (second.added, second.changed, second.removed, second.unchanged, second.embedded) == (0, 0, 0, 4, 0)
    assert second.build == first.build


def test_one_changed_section_replaces_only_its_chunk(tiny_kb, store):
    build(tiny_kb, store)
    edit(tiny_kb, "heat", "some short relief", "a short relief")
    report = build(tiny_kb, store)
    assert (report.changed, report.unchanged, report.added) == (1, 3, 0)
    assert report.embedded == 2, "the chunk and the one sentence that changed"
    assert "a short relief" in Index(store).chunks[SECTION].text


def test_an_index_of_many_pages_is_read_whole(tiny_kb, store, monkeypatch):
    monkeypatch.setattr("ingest.index.ROWS", 3)
    build(tiny_kb, store)
    index = Index(store)
    assert len(index.chunks) == 4 and index.nearest(index.sentence_vectors([SECTION])[SECTION, 0][None, :], records=1)
    edit(tiny_kb, "heat", "some short relief", "a short relief")
    assert build(tiny_kb, store).embedded == 2, "vectors were taken over from every page"


def test_a_deleted_or_refused_article_disappears(tiny_kb, store):
    build(tiny_kb, store)
    (tiny_kb / "articles" / "heat.md").unlink()
    edit(tiny_kb, "walking", "[@walker-2020]", "")
    report = build(tiny_kb, store)
    assert (report.removed, report.refused) == (3, 1)
    assert {chunk.article_id for chunk in Index(store).chunks.values()} == {"help"}


def test_search_finds_a_question_in_other_words(tiny_kb, store):
    build(tiny_kb, store)
    passages = LiveRetriever(Settings(index=store.path))().search("hot water bottle on my spine?", top_k=2)
    assert passages[0].chunk.article_id == "heat"
    assert passages[0].score >= passages[1].score


def test_a_running_bot_moves_to_the_new_index(tiny_kb, store):
    build(tiny_kb, store)
    live = LiveRetriever(Settings(index=store.path))
    before = live().index.build
    edit(tiny_kb, "heat", "some short relief", "brief relief")
    build(tiny_kb, store)
    assert live().index.build != before
    assert "brief relief" in live().index.chunks[SECTION].text


def _slow_build(kb: str, path: str) -> None:
    import ingest.cli as cli

    class Slow:
        name = DEFAULT_MODEL

        def __init__(self, store: Store) -> None:
            self.real = open_embedder(DEFAULT_MODEL, models=store.models)

        def embed(self, texts):
            Path(path, "started").touch()
            time.sleep(30)
            return self.real.embed(texts)

    cli.open_embedder = lambda *_, **__: Slow(Store(Path(path)))
    cli.ingest(Path(kb), Store(Path(path)), model=DEFAULT_MODEL, rebuild=True, reviewed_only=False, quiet=True)


def test_a_killed_ingest_leaves_the_old_index_serving(tiny_kb, store):
    first = build(tiny_kb, store)
    process = multiprocessing.get_context("spawn").Process(target=_slow_build, args=(str(tiny_kb), str(store.path)))
    process.start()
    deadline = time.monotonic() + 60
    while not (store.path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    with pytest.raises(IndexBusy, match="another ingest is running"):
        build(tiny_kb, store)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert Index(store).build == first.build
    edit(tiny_kb, "heat", "some short relief", "brief relief")
    assert build(tiny_kb, store).changed == 1
    assert sorted(path.name for path in (store.path / "builds").iterdir()) == store.builds(), "nothing half-built is left"


def test_a_missing_index_is_one_clear_line(store):
    with pytest.raises(IndexMissing, match="no index here; run 'backtalk ingest' first"):
        Index(store)


def test_a_damaged_index_is_one_clear_line(tiny_kb, store):
    report = build(tiny_kb, store)
    (store.path / "builds" / report.build / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(IndexMissing, match="not a readable index manifest"):
        Index(store)
    assert build(tiny_kb, store).added == 4, "the next ingest mends it"


def test_an_index_of_another_model_is_refused(tiny_kb, store):
    report = build(tiny_kb, store)
    path = store.path / "builds" / report.build / "manifest.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**data, "model": "other-model"}), encoding="utf-8")
    with pytest.raises(IndexMismatch, match="built with 'other-model'"):
        Index(store, model=DEFAULT_MODEL)


def test_old_builds_are_pruned(tiny_kb, store):
    for text in ("one", "two", "three", "four"):
        edit(tiny_kb, "help", "Get ", f"Get {text} times ")
        build(tiny_kb, store)
    assert len(store.builds()) == 2
    assert store.current() == store.builds()[-1]
