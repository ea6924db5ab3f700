"""Decides whether a passage supports a sentence that a language model wrote, without a model: words, numbers and denials must agree.

Method: ALCE and AIS ask whether the cited passage entails the sentence (arXiv 2305.14627; Rashkin 2023). Here entailment is approximated
for one vetted sentence (or two in a row) of the passage: most of the sentence's content words stand in it, every number stands in it, and
both deny or neither does. Numbers and denials are held strictly because errors in them harm.
"""

import re

from bot.retrieve import words

COVERAGE = 0.70
NUMBER = re.compile(r"\d+(?:[.,]\d+)?")
NUMBER_WORDS = {w: str(n) for n, w in enumerate("zero one two three four five six seven eight nine ten eleven twelve".split())}
DENIAL = re.compile(
    r"\b(no|not|never|without|cannot|can't|don't|doesn't|didn't|isn't|aren't|won't|shouldn't|avoid|neither|nor|unlikely|little or no)\b",
    re.IGNORECASE,
)
STOP_ADVICE = re.compile(r"\b(see|call|stop|do not|don't|avoid|go to)\b", re.IGNORECASE)


def best_support(sentence: str, passage: list[str]) -> str | None:
    """Return the vetted sentence of `passage` that supports `sentence`, or None if none does."""
    asked = set(words(_words_to_digits(sentence)))
    if not asked:
        return None
    best: tuple[float, str] | None = None
    for i, vetted in enumerate(passage):
        for span in (vetted, " ".join(passage[i : i + 2])):
            has = set(words(_words_to_digits(span)))
            covered = len(asked & has) / len(asked)
            if covered < COVERAGE or not _numbers(sentence) <= _numbers(span) or _denials_differ(sentence, span):
                continue
            if best is None or covered > best[0]:
                best = (covered, vetted)
    return best[1] if best else None


def _numbers(text: str) -> set[str]:
    return {number.replace(",", "") for number in NUMBER.findall(_words_to_digits(text))}


def _words_to_digits(text: str) -> str:
    return re.sub(r"\b[a-z]+\b", lambda m: NUMBER_WORDS.get(m[0], m[0]), text.lower())


def _denials_differ(sentence: str, span: str) -> bool:
    """Return whether one denies more often than the other: "never true that it is not" is no support for "is not"."""
    return len(DENIAL.findall(sentence)) != len(DENIAL.findall(span))
