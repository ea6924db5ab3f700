"""An ingest spread over a Ray cluster, a real one on this machine, makes the same index as one without."""

import numpy as np
import pytest

from ingest.cli import ingest
from ingest.embed import DEFAULT_MODEL
from ingest.index import PASSAGES, SENTENCES, Store

pytestmark = [pytest.mark.model, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


def rows(store: Store, name: str) -> dict[str, tuple]:
    with store.client(store.current()) as client:
        found = client.get_collection(name, embedding_function=None).get(include=["embeddings", "documents", "metadatas"])
    columns = zip(found["ids"], found["documents"], found["metadatas"], found["embeddings"], strict=True)
    return {row_id: (document, metadata, vector) for row_id, document, metadata, vector in columns}


def test_the_cluster_makes_the_same_index_chunk_for_chunk(tiny_kb, store, tmp_path):
    here = Store(tmp_path / "here")
    (here.path / "models").mkdir(parents=True)
    for file in store.models.iterdir():
        (here.models / file.name).hardlink_to(file)
    options = {"model": DEFAULT_MODEL, "rebuild": False, "reviewed_only": False, "quiet": True}
    local, _ = ingest(tiny_kb, here, **options)
    spread, _ = ingest(tiny_kb, store, engine="ray", **options)
    assert (spread.added, spread.embedded) == (local.added, local.embedded)
    for name in (PASSAGES, SENTENCES):
        one, other = rows(here, name), rows(store, name)
        assert one.keys() == other.keys()
        assert all(one[i][:2] == other[i][:2] for i in one)
        assert max(np.abs(one[i][2] - other[i][2]).max() for i in one) < 1e-5
