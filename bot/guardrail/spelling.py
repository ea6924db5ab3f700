"""Mends misspelt words, so that the classifier can read a message a second time as it was meant."""

import re
from functools import lru_cache
from pathlib import Path

from rapidfuzz.distance import OSA
from rapidfuzz.process import extract

WORD = re.compile(r"[a-z]{4,}")
WORDS = Path(__file__).parent / "words.txt"
LONG = 7
"""From this many letters a word may differ in two places, below in one."""


@lru_cache(maxsize=1)
def read_words(path: Path = WORDS) -> dict[str, int]:
    """Read the known words, the most frequent first, as word to rank; `bot.guardrail.training.train` writes the file."""
    return {word: rank for rank, word in enumerate(path.read_text(encoding="utf-8").split())}


def mend(text: str) -> str:
    """Return the text in lower case, each unknown word replaced by the known word that differs least (the more frequent on a tie)."""
    return WORD.sub(lambda match: _mend_word(match[0]), text.lower())


@lru_cache(maxsize=8192)
def _mend_word(word: str) -> str:
    known = read_words()
    if word in known:
        return word
    allowed = 2 if len(word) >= LONG else 1
    near = [other for other in _by_initial().get(word[0], ()) if abs(len(other) - len(word)) <= allowed]
    found = extract(word, near, scorer=OSA.distance, score_cutoff=allowed, limit=8)
    return min(found, key=lambda hit: (hit[1], known[hit[0]]))[0] if found else word


@lru_cache(maxsize=1)
def _by_initial() -> dict[str, list[str]]:
    """Group the known words by their first letter, which is rarely mistyped."""
    groups: dict[str, list[str]] = {}
    for word in read_words():
        groups.setdefault(word[0], []).append(word)
    return groups
