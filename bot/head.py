"""Says what a question is: answerable from the passages found, in scope but not answered by them, off topic, or asking for what we decline.

Method: one multinomial logistic regression over the question's vector and eight numbers on what was found for it, trained by
`bot/training/head.py` on questions that the encoder was not tuned on. A logistic model's probabilities are near calibrated as they come.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ingest.embed import Vectors

PATH = Path(__file__).parent / "head.json"


@dataclass(frozen=True)
class Head:
    """The fitted regression. `weights` has a row a kind: the vector's coefficients, those of the scaled features, the intercept."""

    names: tuple[str, ...]
    weights: Vectors
    mean: Vectors
    scale: Vectors

    def kinds(self, vector: Vectors, features: Sequence[float]) -> dict[str, float]:
        """Return the probability of each kind for one question (`vector`: shape (d,)); a vector of another size counts as unknown (0)."""
        size = self.weights.shape[1] - len(self.mean) - 1
        known = vector if len(vector) == size else np.zeros(size)
        row = np.concatenate([known, (np.asarray(features) - self.mean) / self.scale, [1.0]])
        logits = self.weights @ row
        odds = np.exp(logits - logits.max())
        return dict(zip(self.names, map(float, odds / odds.sum()), strict=True))


@lru_cache(maxsize=1)
def read_head(path: Path = PATH) -> Head:
    """Read `head.json`."""
    data = json.loads(path.read_text(encoding="utf-8"))
    return Head(tuple(data["kinds"]), *(np.array(data[key]) for key in ("weights", "mean", "scale")))
