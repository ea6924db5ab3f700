"""Runs the trained classifier: how likely each level and each flag is for a text. Knows nothing of rules or conversations."""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import BertWordPieceTokenizer, Tokenizer

from kb.red_flags import CODES, LEVELS, Code, Level

MODEL = Path(__file__).parent / "model.onnx"
PIECES = Path(__file__).parent / "pieces.txt"
MAX_TOKENS = 160
BATCH = 16


@dataclass(frozen=True)
class Scores:
    """Probabilities for one text: `levels` sum to 1; each of `codes` stands alone."""

    levels: dict[Level, float]
    codes: dict[Code, float]

    @property
    def flagged(self) -> float:
        """The probability that the text holds any red flag."""
        return 1.0 - self.levels["none"]

    def at_least(self, level: Level) -> float:
        """Return the probability of `level` or a higher one."""
        return sum(p for name, p in self.levels.items() if LEVELS.index(name) >= LEVELS.index(level))


class Classifier:
    """The ONNX model that `bot.guardrail.training.train` writes."""

    def __init__(self, path: Path = MODEL) -> None:
        """Load the model.

        Raises:
            OSError: the file is missing.
            ValueError: the file does not fit this code.
        """
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        if (card["levels"], card["codes"]) != (list(LEVELS), list(CODES)):
            raise ValueError(f"{path}: trained for other levels or codes; run 'make guardrail-model'")
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; run 'make guardrail-model'")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._tokenizer = read_tokenizer(PIECES.read_text(encoding="utf-8").split("\n")[:-1])

    def score(self, texts: list[str]) -> list[Scores]:
        """Score each text; one longer than 160 word pieces is read up to there, so cut long ones first."""
        out = []
        for start in range(0, len(texts), BATCH):
            encoded = self._tokenizer.encode_batch(texts[start : start + BATCH])
            ids = np.array([e.ids for e in encoded], dtype=np.int64)
            mask = np.array([e.attention_mask for e in encoded], dtype=np.int64)
            levels, codes = self._session.run(["level", "codes"], {"input_ids": ids, "attention_mask": mask})
            levels = np.exp(levels - levels.max(axis=1, keepdims=True))
            levels /= levels.sum(axis=1, keepdims=True)
            codes = 1.0 / (1.0 + np.exp(-codes))
            for row, flags in zip(levels, codes, strict=True):
                out.append(Scores(dict(zip(LEVELS, map(float, row), strict=True)), dict(zip(CODES, map(float, flags), strict=True))))
        return out


def read_tokenizer(pieces: list[str]) -> Tokenizer:
    """Return a tokenizer of BERT's kind over the word `pieces`, lower case, that cuts and pads as the classifier needs."""
    made = BertWordPieceTokenizer(vocab={piece: n for n, piece in enumerate(pieces)}, lowercase=True)
    made.enable_truncation(MAX_TOKENS)
    made.enable_padding(pad_id=pieces.index("[PAD]"))
    return Tokenizer.from_str(made.to_str())


@lru_cache(maxsize=1)
def open_classifier() -> Classifier:
    """Open the product's classifier once a process; raises as `Classifier` does."""
    return Classifier()
