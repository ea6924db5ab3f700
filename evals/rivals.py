"""Other ways to build the guardrail, measured on the same cases: a keyword list, nearest neighbours, TF-IDF with logistic regression.

The last two learn from the guardrail's own training messages and set their threshold on its development messages, where sensitivity plus
specificity is highest. Each reads every user message alone; what one raises stays in force.
"""

import json
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import yaml

from bot.guardrail.normalise import normalise
from bot.settings import Settings
from evals.case import Case
from evals.measure import Observe, Observed
from evals.metrics import Floats
from ingest.chunk import digest
from ingest.embed import open_embedder
from ingest.index import Store
from kb.red_flags import LEVELS, Level

KEYWORDS = Path(__file__).parent / "data" / "keywords.yaml"
LEARNT_FROM = Path(__file__).parent.parent / "bot" / "guardrail" / "training" / "data"
Read = Callable[[str], Level]
"""One message to its level."""


def keyword_list(case: Case) -> Observed:
    """Escalate when a word of the list stands in the message."""
    return _in_force(case, _by_keyword)


def nearest_messages(settings: Settings) -> Observe:
    """Return the rival that gives a message the level of the training message nearest in meaning."""
    texts, levels = read_messages("train-*.jsonl")
    tuning, expected = read_messages("dev.jsonl")
    embedder = open_embedder(settings.embedding_model, models=Store(settings.index).models)
    kept = settings.index / "evals" / f"messages-{digest(chr(10).join([embedder.name, *texts]))}.npy"
    vectors = np.load(kept) if kept.is_file() else embedder.embed(texts)
    kept.parent.mkdir(parents=True, exist_ok=True)
    np.save(kept, vectors)
    is_flag = np.array([level != "none" for level in levels])
    flagged = [level for level in levels if level != "none"]

    def near(messages: list[str]) -> tuple[Floats, list[Level]]:
        cosine = embedder.embed(messages) @ vectors.T
        flags = cosine[:, is_flag]
        return flags.max(axis=1) - cosine[:, ~is_flag].max(axis=1), [flagged[i] for i in flags.argmax(axis=1)]

    threshold = best_threshold(near(tuning)[0], expected)

    # Kept, since each turn of a conversation brings the earlier ones along.
    @cache
    def read(text: str) -> Level:
        score, level = near([normalise(text)])
        return level[0] if score[0] >= threshold else "none"

    return lambda case: _in_force(case, read)


def tfidf_regression(settings: Settings) -> Observe:
    """Return the rival made of TF-IDF over words and word pairs and a logistic regression over the levels."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    texts, levels = read_messages("train-*.jsonl")
    tuning, expected = read_messages("dev.jsonl")
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    model = LogisticRegression(max_iter=2000, C=10.0).fit(words.fit_transform(texts), levels)
    none = list(model.classes_).index("none")
    threshold = best_threshold(1 - model.predict_proba(words.transform(tuning))[:, none], expected)

    def read(text: str) -> Level:
        chances = dict(zip(model.classes_, model.predict_proba(words.transform([normalise(text)]))[0], strict=True))
        if 1 - chances.pop("none") < threshold:
            return "none"
        level: Level = max(chances, key=lambda name: chances[name])
        return level

    return lambda case: _in_force(case, read)


def best_threshold(scores: Floats, expected: list[Level]) -> float:
    """Return the score from which on to escalate so that sensitivity plus specificity is highest (Youden 1950)."""
    flags = np.array([level != "none" for level in expected])
    steps = np.unique(scores)
    gains = [float((scores[flags] >= step).mean() - (scores[~flags] >= step).mean()) for step in steps]
    return float(steps[int(np.argmax(gains))])


@lru_cache(maxsize=2)
def read_messages(pattern: str) -> tuple[list[str], list[Level]]:
    """Read the single messages of the guardrail's training or development data, normalised, with their levels."""
    lines = [line for path in sorted(LEARNT_FROM.glob(pattern)) for line in path.read_text(encoding="utf-8").split("\n") if line]
    rows = [row for row in map(json.loads, lines) if "text" in row]
    return [normalise(row["text"]) for row in rows], [row["expect"] for row in rows]


@lru_cache(maxsize=1)
def _keywords() -> dict[Level, list[str]]:
    return dict(yaml.safe_load(KEYWORDS.read_text(encoding="utf-8")))


def _by_keyword(text: str) -> Level:
    lowered = text.lower().replace("’", "'")
    return next((level for level, words in _keywords().items() if any(word in lowered for word in words)), "none")


def _in_force(case: Case, read: Read) -> Observed:
    levels = [read(message.content) for message in case.messages if message.role == "user"]
    return {"level": max(levels, key=LEVELS.index), "codes": [], "evidence": [], "failed": False}
