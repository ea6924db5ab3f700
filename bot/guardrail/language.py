"""Tells the language of a message, and finds red flags in messages that are not English by that language's danger words.

The classifier reads English only. Of a message in another language without a danger word nothing is known, so it counts as "cannot be
ruled out" and gets that language's list of danger signs.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from bot.guardrail.normalise import clean
from kb.languages import LEVEL_OF, Language, read_languages
from kb.red_flags import LEVELS, Code, Level

ENGLISH = "en"
UNKNOWN = "other"
SCRIPTS = {
    "DEVANAGARI": "hi",
    "BENGALI": "bn",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "CJK": "zh",
    "ARABIC": "ar",
    "CYRILLIC": "ru",
    "GREEK": UNKNOWN,
    "HEBREW": UNKNOWN,
    "THAI": UNKNOWN,
    "HANGUL": UNKNOWN,
    "TAMIL": UNKNOWN,
    "TELUGU": UNKNOWN,
    "GUJARATI": UNKNOWN,
    "GURMUKHI": UNKNOWN,
    "ETHIOPIC": UNKNOWN,
    "ARMENIAN": UNKNOWN,
    "GEORGIAN": UNKNOWN,
    "KHMER": UNKNOWN,
    "SINHALA": UNKNOWN,
    "MALAYALAM": UNKNOWN,
    "KANNADA": UNKNOWN,
    "MYANMAR": UNKNOWN,
}
URDU = re.compile(r"[ٹڈڑںےہھۓ]")
UKRAINIAN = re.compile(r"[іїєґ]")
WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
ENGLISH_WORDS = frozenset(
    "the a an i my me is are was it its to of and or for in on with that this have has had be been not no do does did can cant cannot "
    "what how which when why should would could will i'm im i've ive don't dont at from but if so you your he she his her they we after "
    "since now just get got some any back pain run running leg hurts hurt feel numb pee legs day days week weeks".split()
)
SURE = 0.95


@dataclass(frozen=True)
class Foreign:
    """What a message in another language gave; level 'none' and no codes when no danger word was found."""

    language: str
    level: Level
    codes: tuple[Code, ...]
    evidence: str


def detect(text: str) -> str:
    """Return the language of a message: 'en', the code of a language of `kb/languages`, or 'other'."""
    plain = clean(text).lower()
    letters = [letter for letter in plain if letter.isalpha()]
    if not letters:
        return ENGLISH
    counts: dict[str, int] = {}
    for letter in letters:
        if not letter.isascii():
            name = unicodedata.name(letter, "").split(" ")[0]
            if name in SCRIPTS:
                counts[SCRIPTS[name]] = counts.get(SCRIPTS[name], 0) + 1
    if sum(counts.values()) > 0.3 * len(letters):
        found = "ja" if "ja" in counts else max(counts, key=lambda code: counts[code])
        if found == "ar" and URDU.search(plain):
            found = "ur"
        if found == "ru" and UKRAINIAN.search(plain):
            found = "uk"
        return found if found in read_languages() else UNKNOWN
    words = WORD.findall(plain.replace("’", "'"))
    english = sum(word in ENGLISH_WORDS for word in words)
    hits = {code: sum(word in vocabulary for word in words) for code, vocabulary in _function_words().items()}
    best = max(hits, key=lambda code: (hits[code], code), default=ENGLISH)
    if hits.get(best, 0) > english and (hits[best] >= 2 or len(words) <= 3):
        return best
    if len(words) >= 4 and english <= 0.12 * len(words):
        code, probability = _identifier().classify(plain)
        if code != ENGLISH and probability >= SURE:
            return str(code) if code in read_languages() else UNKNOWN
    return ENGLISH


def read_foreign(text: str, language: str) -> Foreign:
    """Find the danger words of a language in a message.

    Mixed speech is read too: an English message is searched for the danger words of languages whose small words it holds.
    """
    plain = clean(text).lower().replace("’", "'")
    codes = [language] if language in read_languages() else []
    # Hindi and Urdu, and their like, are often typed in Latin letters: looked for wherever English words are few.
    words = set(WORD.findall(plain))
    codes += [c for c, vocabulary in _function_words().items() if c not in codes and words & vocabulary]
    if not _is_english(words):
        codes += [c for c in ("hi", "ur", "bn", "ar", "ru", "uk", "zh", "ja") if c in read_languages() and c not in codes]
    level: Level = "none"
    found: list[Code] = []
    evidence = ""
    spoken = language
    for code in codes:
        entry = read_languages()[code]
        for flag, patterns in entry.patterns.items():
            for pattern in patterns:
                match = next((m for m in pattern.p.finditer(plain) if not _is_negated(plain, m.start(), entry)), None)
                if match is None:
                    continue
                raised = pattern.level or LEVEL_OF.get(flag, "urgent")
                if LEVELS.index(raised) > LEVELS.index(level):
                    level, evidence = raised, match[0].strip()
                    found.insert(0, flag)
                    spoken = code if language in (ENGLISH, UNKNOWN) and not _is_english(words) else language
                elif flag not in found:
                    found.append(flag)
    return Foreign(spoken, level, tuple(dict.fromkeys(found)), evidence)


def is_small_talk(text: str) -> bool:
    """Return whether a foreign message is too short to hold a symptom, such as a greeting."""
    letters = sum(letter.isalpha() for letter in clean(text))
    return letters <= 8 and len(text.split()) <= 2


def _is_english(words: set[str]) -> bool:
    return len(words & ENGLISH_WORDS) >= 0.3 * max(len(words), 1)


def _is_negated(text: str, start: int, language: Language) -> bool:
    clause = re.split(r"[.!?;:\n。！？،؛।]|\b(?:pero|mais|aber|ma|mas|ale|dar|ama|но|но|लेकिन|لیکن|لكن|কিন্তু|但|でも|maar)\b", text[:start])[
        -1
    ]
    before = clause[-40:]
    return any(re.search(rf"(?<!\w){re.escape(word.lower())}(?!\w)[^,،、，]{{0,30}}$", before) for word in language.negations)


@lru_cache(maxsize=1)
def _function_words() -> dict[str, frozenset[str]]:
    return {
        code: frozenset(word.lower() for word in entry.function_words) - ENGLISH_WORDS
        for code, entry in read_languages().items()
        if entry.function_words
    }


@lru_cache(maxsize=1)
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
