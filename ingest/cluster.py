"""Embeds on a Ray cluster: Ray Data spreads the texts over its machines, each of which opens the model once. Extra 'ray'."""

import os
from pathlib import Path
from typing import Any, cast

import numpy as np
import ray
from ray.data import ActorPoolStrategy, DataContext

from ingest.embed import Vectors, open_embedder

BATCH = 256
"""Texts that travel to a worker at a time."""


class RayEmbedder:
    """The embedding model `name`, on every machine of the cluster that RAY_ADDRESS names, or on the cores of this one.

    The workers need the product installed; the model file is exported where it is not yet.
    """

    def __init__(self, name: str, *, models: Path) -> None:
        """Remember which model to open; the cluster is joined at the first call."""
        self.name = name
        self._models = models

    def embed(self, texts: list[str]) -> Vectors:
        """Return one unit vector a text, in the order of the texts, shape (len(texts), dimension), float32.

        Raises:
            ValueError: the cluster cannot be reached or started.
        """
        if not texts:
            return np.zeros((0, 0), dtype=np.float32)
        started_here = not ray.is_initialized()
        if started_here:
            _join()
        DataContext.get_current().enable_progress_bars = False
        try:
            workers = max(1, min(int(cast(Any, ray).cluster_resources().get("CPU", 1)), -(-len(texts) // BATCH)))
            rows = ray.data.from_items([{"number": number, "text": text} for number, text in enumerate(texts)])
            embedded = rows.map_batches(
                _Worker,
                fn_constructor_args=(self.name, str(self._models)),
                batch_size=BATCH,
                compute=ActorPoolStrategy(size=workers),
                num_cpus=1,
            )
            found = sorted(embedded.take_all(), key=lambda row: int(row["number"]))
        finally:
            if started_here:
                ray.shutdown()
        return np.stack([np.asarray(row["vector"], dtype=np.float32) for row in found])


def _join() -> None:
    address = os.environ.get("RAY_ADDRESS")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray.init(address=address, include_dashboard=False, log_to_driver=False, configure_logging=False)
    except Exception as error:
        # Ray raises a bare Exception when a node does not come up in time, and ConnectionError when none answers.
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"--engine ray: the cluster {address or 'on this machine'} cannot be used: {reason}") from error


class _Worker:
    """One process of the cluster with the model open."""

    def __init__(self, name: str, models: str) -> None:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        self._embedder = open_embedder(name, models=Path(models))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"number": batch["number"], "vector": self._embedder.embed([str(text) for text in batch["text"]])}
