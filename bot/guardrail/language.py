"""Tells the language of a message, and finds red flags in messages that are not English by that language's danger words.

The classifier reads English only. Of a message in another language without a danger word nothing is known, so it counts as "cannot be
ruled out" and gets that language's list of danger signs.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from bot.guardrail.literals import Haystack
from bot.guardrail.matcher import find_flags
from bot.guardrail.normalise import clean
from kb.languages import LEVEL_OF, Language, fold, read_languages
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
# Languages of one script: a message in the one is searched for the danger words of the other too.
SIBLINGS = {"ru": ("uk",), "uk": ("ru",), "ar": ("ur",), "ur": ("ar", "hi"), "hi": ("ur",), "zh": ("ja",), "ja": ("zh",)}
# Often typed in Latin letters: looked for wherever English words are few.
TYPED_IN_LATIN = ("hi", "ur", "bn", "ar", "ru", "uk", "zh", "ja")
URDU = re.compile(r"[ٹڈڑںےہھۓ]")
PERSIAN_KEYBOARD = re.compile(r"[یکگچپژ]")
UKRAINIAN = re.compile(r"[іїєґ]")
RUSSIAN = re.compile(r"[ыэъё]")
WORD = re.compile(r"\b(?=[\d_]*[^\W\d_])\w+(?:'\w+)?")
BUT = re.compile(
    fold(
        r"[.!?;:\n。！？،؛।]|\b(?:pero|sino|mais|aber|sondern|ma|però|mas|ale|dar|însă|ama|fakat|ancak|но|зато|але|проте|लेकिन|मगर|पर|لیکن|مگر|"
        r"لكن|ولكن|بس|কিন্তু|তবে|maar|lekin|magar|kintu|lakin|bas)\b|但|不过|不過|でも|けど|ただ"
    )
)
ENGLISH_WORDS = frozenset(
    "the a an i my me is are was it its to of and or for in on with that this have has had be been not no do does did can cant cannot "
    "what how which when why should would could will i'm im i've ive don't dont at from but if so you your he she his her they we after "
    "since now just get got some any back pain run running leg hurts hurt feel numb pee legs day days week weeks can't i'd about up out".split()
)
# English words that other languages have too; they tell English only where nothing tells another language.
SHARED_WORDS = frozenset("a i me no he in on so an do has was am".split())
ENGLISH_ONLY = ENGLISH_WORDS - SHARED_WORDS
# A denial holds for danger words at most this many letters after it.
REACH = 40
# Of a language that `kb/languages` holds, in a message without an English word; and of any other.
LIKELY = 0.2
SURE = 0.95


@dataclass(frozen=True)
class Foreign:
    """What a message in another language gave; level 'none' and no codes when no danger word was found."""

    language: str
    level: Level
    codes: tuple[Code, ...]
    evidence: str


def detect(text: str, *, before: str = ENGLISH) -> str:
    """Return the language of a message: 'en', the code of a language of `kb/languages`, or 'other'.

    Args:
        text: the message.
        before: the language of the person's message before; one too short to tell keeps it.
    """
    plain = clean(text).lower().replace("’", "'")
    letters = sum(letter.isalpha() for letter in plain)
    scripts = _scripts(plain)
    if scripts and scripts.total() > 0.3 * letters:
        return _by_script(plain, scripts)
    words = WORD.findall(fold(plain))
    greeting = " ".join(words)
    if greeting in _own_greetings():
        return _own_greetings()[greeting]
    english = sum(word in ENGLISH_WORDS for word in words)
    hits = {code: sum(word in vocabulary for word in words) for code, vocabulary in _function_words().items()}
    top = max(hits.values(), default=0)
    sure = sum(word in ENGLISH_ONLY for word in words)
    if before in read_languages() and not sure and top <= 2 and len(words) <= 6:
        return before
    if top > sure and (top >= 2 or len(words) <= 3):
        return _likeliest(plain, [code for code in hits if hits[code] == top])
    if len(words) >= 3 and top and top >= sure:
        return _likeliest(plain, [ENGLISH, *(code for code in hits if hits[code] == top)])
    if len(words) >= 2 and not sure:
        ranked = {str(code): float(probability) for code, probability in _identifier().rank(plain)}
        code = max(read_languages(), key=lambda known: ranked.get(known, 0.0))
        if ranked.get(code, 0.0) > max(LIKELY, 5 * ranked[ENGLISH]):
            return code
    if len(words) >= 4 and english <= 0.12 * len(words):
        code, probability = _identifier().classify(plain)
        if code != ENGLISH and probability >= SURE:
            return str(code) if code in read_languages() else UNKNOWN
    return ENGLISH


def read_foreign(text: str, language: str) -> Foreign:
    """Find the danger words of a language in a message.

    Mixed speech is read too: an English message is searched for the danger words of languages whose small words or letters it holds,
    and a message in another language for the English rules where it holds English words.
    """
    plain = clean(text).lower().replace("’", "'")
    folded = fold(plain)
    words = set(WORD.findall(folded))
    haystack = Haystack(folded)
    level: Level = "none"
    found: list[Code] = []
    evidence = ""
    spoken = language
    for code in _to_read(plain, words, language):
        entry = read_languages()[code]
        for flag, patterns in entry.patterns.items():
            for pattern in patterns:
                raised = pattern.level or LEVEL_OF.get(flag, "urgent")
                is_known = flag in found and LEVELS.index(raised) <= LEVELS.index(level)
                if is_known or not haystack.holds(pattern.p):
                    continue
                match = next((m for m in haystack.matches(pattern.regex) if not _is_negated(folded, m.start(), entry)), None)
                if match is None:
                    continue
                if LEVELS.index(raised) > LEVELS.index(level):
                    # Folding keeps the length of a text without loose marks: the words are shown as the person wrote them.
                    shown = plain if len(plain) == len(folded) else folded
                    level, evidence = raised, shown[match.start() : match.end()].strip()
                    found.insert(0, flag)
                    spoken = code if language in (ENGLISH, UNKNOWN) and not _is_english(words) else language
                elif flag not in found:
                    found.append(flag)
    if language not in (ENGLISH, UNKNOWN) and words & ENGLISH_ONLY:
        for finding in find_flags(text):
            if LEVELS.index(finding.level) > LEVELS.index(level):
                level, evidence = finding.level, finding.evidence
                found.insert(0, finding.code)
            else:
                found.append(finding.code)
    return Foreign(spoken, level, tuple(dict.fromkeys(found)), evidence)


def is_small_talk(text: str) -> bool:
    """Return whether a foreign message is nothing but greetings and thanks, or too short to hold a symptom."""
    plain = fold(clean(text).lower().replace("’", "'"))
    if not any(letter.isalpha() for letter in _greetings().sub(" ", plain)):
        return True
    # One Chinese or Japanese letter may be a word.
    letters = sum(4 if letter > "\u2fff" else 1 for letter in plain if letter.isalpha())
    return letters <= 8 and len(text.split()) <= 2


def _to_read(plain: str, words: set[str], language: str) -> list[str]:
    """Return the languages whose danger words a message is searched for, likeliest first."""
    codes = [language, *SIBLINGS.get(language, ())]
    for script in _scripts(plain):
        codes += [script, *SIBLINGS.get(script, ())]
    codes += [code for code, vocabulary in _function_words().items() if words & vocabulary]
    if not _is_english(words):
        codes += TYPED_IN_LATIN
    if not words & ENGLISH_ONLY:
        # A few words may hold none that tells their language.
        codes += read_languages()
    return [code for code in dict.fromkeys(codes) if code in read_languages()]


def _scripts(text: str) -> Counter[str]:
    """Count the letters of each script that is not Latin, under the language it stands for."""
    names = (unicodedata.name(letter, "").split(" ")[0] for letter in text if letter.isalpha() and not letter.isascii())
    return Counter(SCRIPTS[name] for name in names if name in SCRIPTS)


def _by_script(plain: str, scripts: Counter[str]) -> str:
    found = "ja" if "ja" in scripts else max(scripts, key=lambda code: scripts[code])
    if found == "ar" and URDU.search(plain):
        found = "ur"
    elif found == "ar" and PERSIAN_KEYBOARD.search(plain):
        found = _likeliest(plain, ["ar", "ur", "fa"])
    elif found == "ru" and UKRAINIAN.search(plain):
        found = "uk"
    elif found == "ru" and not RUSSIAN.search(plain):
        words = WORD.findall(fold(plain))
        hits = {code: sum(word in _function_words()[code] for word in words) for code in ("ru", "uk")}
        found = _likeliest(plain, ["ru", "uk"]) if hits["ru"] == hits["uk"] else max(hits, key=lambda code: hits[code])
    return found if found in read_languages() else UNKNOWN


def _likeliest(plain: str, codes: Sequence[str]) -> str:
    if len(codes) == 1:
        return codes[0]
    return str(next((code for code, _ in _identifier().rank(plain) if code in codes), codes[0]))


def _is_english(words: set[str]) -> bool:
    return len(words & ENGLISH_ONLY) >= 0.3 * max(len(words), 1)


def _is_negated(text: str, start: int, language: Language) -> bool:
    earliest = max(start - REACH, 0)
    turns = [turn.end() for turn in BUT.finditer(text, max(earliest - REACH, 0), start)]
    return bool(_negation(language.code).search(text[max(earliest, *turns, 0) : start]))


@lru_cache
def _negation(code: str) -> re.Pattern[str]:
    words = "|".join(_alone(fold(word.lower())) for word in read_languages()[code].negations)
    # A language may have none listed: an empty alternative would deny everything.
    return re.compile(rf"(?:{words or '(?!)'})[^,،、，]{{0,30}}$")


@lru_cache(maxsize=1)
def _greetings() -> re.Pattern[str]:
    phrases = {fold(phrase.lower()) for entry in read_languages().values() for phrase in entry.greetings}
    return re.compile("|".join(_alone(phrase) for phrase in sorted(phrases, key=len, reverse=True)))


@lru_cache(maxsize=1)
def _own_greetings() -> dict[str, str]:
    """Return the greetings that only one language has, with its code."""
    phrases = [
        (" ".join(WORD.findall(fold(phrase.lower()))), code) for code, entry in read_languages().items() for phrase in entry.greetings
    ]
    seen = Counter(phrase for phrase, _ in phrases)
    return {phrase: code for phrase, code in phrases if seen[phrase] == 1}


def _alone(phrase: str) -> str:
    """Return a pattern for a phrase as whole words, where its script puts spaces between words."""
    escaped = re.escape(phrase)
    return escaped if phrase > "\u2fff" else rf"(?<!\w){escaped}(?!\w)"


@lru_cache(maxsize=1)
def _function_words() -> dict[str, frozenset[str]]:
    return {
        code: frozenset(fold(word.lower()) for word in entry.function_words) - ENGLISH_WORDS
        for code, entry in read_languages().items()
        if entry.function_words
    }


@lru_cache(maxsize=1)
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
