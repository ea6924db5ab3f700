"""Judges a whole conversation: which red flags are in force now, at which level, because of which words.

Each user turn is read alone (whole, and by sentences, so that nothing hides in company) and together with the turns before it (so that
facts which only together are a flag are seen together). A flag once found stays in force until it is credibly taken back. Plain rules
and the trained classifier both look; either can raise. Any failure inside counts as "cannot rule it out": the caller gives the advice.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict

from bot.guardrail.classifier import Classifier, Scores, open_classifier
from bot.guardrail.language import ENGLISH, UNKNOWN, detect, is_small_talk, read_foreign
from bot.guardrail.matcher import SENTENCE, Finding, find_flags
from bot.guardrail.normalise import normalise
from bot.guardrail.spelling import mend
from bot.guardrail.window import conversation_text
from bot.turn import FlagFound, Message, Verdict
from kb.red_flags import LEVELS, Code, Level, read_policy

TAKE_BACK = re.compile(
    r"\b(sorry|i meant|meant to|typo|auto-?(correct|format)\w*|wrong (word|chat|window)|misread|mistyped|misunderst\w+|i was wrong|correction|to clarify|should('ve| have) (said|explained|mentioned)|explained (it |that )?(badly|wrong)|my english|"
    r"that was (in|years|months|last|when|my|about|a )|years ago|months ago|long ago|not me|wasn't me|isn't me|was talking about|"
    r"(rang|called|phoned|went to) (\d{3}|urgent care|the (doctor|gp|hospital|surgery|midwife))|before my (operation|surgery|op)|counted|"
    r"(been|was|were|got) (seen|scanned|checked|examined|assessed|discharged|cleared|operated|treated|told)|scan(ned)?|mri|x-?ray|a&e|hospital|gp|doctor|consultant|midwife|surgeon|ambulance|"
    r"(all|completely|fully|back to) (gone|normal|clear|fine|settled|better)|feeling('s| is| has)? (back|come back|returned)|works? (fine|normally) again)\b",
    re.IGNORECASE,
)
# A question that speaks of nobody: how the world is, not how somebody is.
ASKS = re.compile(
    r"\W*(what|which|why|how|when|where|who|does|do|did|can|could|should|will|would|is|are|was|has|have)\b(?!n't)", re.IGNORECASE
)
SOMEBODY = re.compile(
    r"\b(i|im|i'm|ive|i've|me|my|mine|myself|we|us|our|he|him|his|she|her|hers|they|them|their|you|your|this|now|today|tonight|yesterday|since|still|"
    r"just|suddenly|again|mum|mom|dad|wife|husband|partner|son|daughter|lad|kid|kids|child|baby|friend|mate|client|patient|brother|sister|gran|nan|grandad)\b",
    re.IGNORECASE,
)
IMPERSONAL_WORDS = 14
LONG_WINDOWS = 40
MAX_TURNS = 30
RETRACTION_WORDS = 12


class Thresholds(BaseModel):
    """`thresholds.yaml`, read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    message: float
    impersonal: float
    sentence: float
    conversation: float
    context: float
    rule: float
    rule_emergency: float
    retraction: float
    retraction_without_words: float
    doubt: float
    level: dict[str, float]
    code: float


@lru_cache(maxsize=1)
def read_thresholds(path: Path = Path(__file__).parent / "thresholds.yaml") -> Thresholds:
    """Read the thresholds."""
    return Thresholds.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class _Seen:
    """What one text gave: its level and codes, with the words, or none."""

    level: Level
    codes: tuple[Code, ...]
    evidence: str
    is_found: bool = True
    """False where nothing was found, but nothing could be ruled out either."""


def judge(messages: Sequence[Message], *, classifier: Classifier | None = None) -> Verdict:
    """Return the verdict on a conversation whose last message is the user's.

    Raises whatever its parts raise; `bot.guardrail.check.check_message` turns that into a failed verdict, never into silence.
    """
    classifier = classifier or open_classifier()
    limits = read_thresholds()
    in_force: dict[Code, tuple[Level, FlagFound]] = {}
    language = ENGLISH
    retracted = False
    doubtful: Code | None = None
    foreign: dict[int, str] = {}
    unjudged: set[int] = set()
    users = [i for i, message in enumerate(messages) if message.role == "user"][-MAX_TURNS:]
    for position, i in enumerate(users):
        text = messages[i].content
        language = detect(normalise(text), before=language)
        # Odd English may look like a language that we do not know; it is read all the same.
        seen, doubtful = _read_message(text, classifier, limits) if language in (ENGLISH, UNKNOWN) else (None, None)
        seen, language = _with_foreign(text, seen, language)
        if language != ENGLISH:
            foreign[i] = language
        else:
            # What only could not be ruled out is over as soon as the person writes what can be judged.
            in_force = {code: value for code, value in in_force.items() if value[1].turn not in unjudged}
        if seen and not seen.is_found:
            unjudged.add(i)
        together: Scores | None = None
        overall = 0.0
        if position and language == ENGLISH:
            # Of turns that the classifier cannot read it would make something up.
            turns = [
                (m.role, normalise(m.content))
                for j, m in enumerate(messages[: i + 1])
                if j >= users[0] and foreign.get(j, UNKNOWN) == UNKNOWN
            ]
            together = classifier.score([conversation_text(turns)])[0]
            overall = suspicion(together)
        if seen and together is not None and not in_force and overall < limits.context:
            seen = None  # an answer such as "normal, no, just sore" says nothing without its question; together it is harmless
        # Nor can it tell whether English words take back what was said in another language: that stays in force.
        readable = not any(flag.turn in foreign for _, flag in in_force.values())
        taken_back = bool(in_force) and together is not None and readable and _takes_back(text, overall, limits)
        if taken_back:
            in_force.clear()
            retracted, seen = True, None
        elif seen is None and together is not None and not in_force and overall >= limits.conversation:
            seen = _Seen(_level(together, limits), _codes(together, limits), _shorten(text))
        if seen:
            retracted = False
            for code in seen.codes:
                old = in_force.get(code)
                if old is None or LEVELS.index(seen.level) > LEVELS.index(old[0]):
                    in_force[code] = (seen.level, FlagFound(code=code, evidence=seen.evidence, turn=i))
        elif together is not None and in_force and not taken_back and overall >= limits.conversation:
            # More facts can raise a flag that is already in force.
            level = _level(together, limits)
            top = max((value[0] for value in in_force.values()), key=LEVELS.index)
            if LEVELS.index(level) > LEVELS.index(top):
                for code in _codes(together, limits)[:1]:
                    in_force[code] = (level, FlagFound(code=code, evidence=_shorten(text), turn=i))
    if not in_force:
        return Verdict(retracted=retracted, doubtful=doubtful, language=language)
    ranked = sorted(in_force.values(), key=lambda value: -LEVELS.index(value[0]))
    return Verdict(level=ranked[0][0], flags=tuple(flag for _, flag in ranked), language=language)


def _with_foreign(text: str, seen: _Seen | None, language: str) -> tuple[_Seen | None, str]:
    """Add what the danger words of other languages give; a foreign message without any cannot be ruled out."""
    foreign = read_foreign(text, language)
    if foreign.level == "none":
        if language == ENGLISH or is_small_talk(text):
            return seen, language
        return _Seen("see_doctor", ("other",), _shorten(text), is_found=False), language
    if seen and LEVELS.index(seen.level) >= LEVELS.index(foreign.level):
        if foreign.language == language:
            return seen, language
        # Not English after all: what is said of it is said in its language.
        return _Seen(seen.level, foreign.codes, _as_written(foreign.evidence, text)), foreign.language
    return _Seen(foreign.level, foreign.codes, _as_written(foreign.evidence, text)), foreign.language


def _read_message(text: str, classifier: Classifier, limits: Thresholds) -> tuple[_Seen | None, Code | None]:
    plain = normalise(text)
    parts = _parts(plain)
    whole, mended, *in_parts = classifier.score([plain[:2000], mend(plain[:2000]), *parts])
    scores = [whole, *in_parts]
    suspected = suspicion(whole, mended)
    # For plain rules the classifier is a second look; an emergency falls only where it is as sure as it can be.
    likely = max(suspected, *(score.flagged for score in scores))
    rules = [f for f in find_flags(text) if likely >= (limits.rule_emergency if f.level == "emergency" else limits.rule)]
    of_nobody = is_impersonal(plain)
    best: Scores | None = whole if suspected >= (limits.impersonal if of_nobody else limits.message) else None
    strong = [(s, part) for s, part in zip(scores[1:], parts, strict=True) if s.flagged >= limits.sentence]
    if strong:
        top = max(strong, key=lambda pair: (LEVELS.index(_level(pair[0], limits)), pair[0].flagged))
        if best is None or LEVELS.index(_level(top[0], limits)) > LEVELS.index(_level(best, limits)):
            best = top[0] if best is None else best
    if best is None and not rules:
        return None, _codes(whole, limits)[0] if suspected >= limits.doubt and not of_nobody else None
    level: Level = _level(best, limits) if best else "none"
    named = _codes(best, limits) if best else ()
    fitting = [code for code in named if _fits(code, plain)]
    if best and not fitting:
        # The likeliest flag cannot be meant; what is left is that something needs a look.
        level, fitting = ("urgent" if level == "emergency" else level), [] if rules else ["other"]
        if rules:
            level = "none"
    # What a rule names comes first: its words are the ones that are shown.
    ranked = sorted(rules, key=lambda finding: -LEVELS.index(finding.level))
    codes: list[Code] = list(dict.fromkeys([*(finding.code for finding in ranked), *fitting]))
    for finding in rules:
        level = max(level, finding.level, key=LEVELS.index)
    return _Seen(level, tuple(codes), _evidence(text, plain, parts, scores[1:], rules)), None


def is_impersonal(text: str) -> bool:
    """Return whether a message is one short question that speaks of nobody, such as "does one short leg cause back pain"."""
    return len(text.split()) <= IMPERSONAL_WORDS and bool(ASKS.match(text)) and not SOMEBODY.search(text)


def suspicion(*readings: Scores) -> float:
    """Return how likely a text holds a red flag, from several readings of it: the level head on each, and the code head on the first.

    Their log-odds are averaged: errors of heads and of readings are partly independent, as in test-time augmentation (Krizhevsky 2012).
    """
    votes = [*(reading.flagged for reading in readings), max(readings[0].codes.values())]
    clipped = [min(max(vote, 1e-5), 1 - 1e-5) for vote in votes]
    mean = sum(math.log(vote / (1 - vote)) for vote in clipped) / len(clipped)
    return 1 / (1 + math.exp(-mean))


def _fits(code: Code, text: str) -> bool:
    needs = read_policy().flags[code].needs
    return needs is None or bool(needs.search(text.lower()))


def _parts(text: str) -> list[str]:
    """Return the sentences of a message and each two in a row, for a message of more than one."""
    sentences = [match[0].strip() for match in SENTENCE.finditer(text) if len(match[0].split()) > 1]
    if len(sentences) < 2:
        words = text.split()
        if len(words) < 40:
            return []
        # A voice transcript without punctuation: read it in overlapping stretches.
        return [" ".join(words[start : start + 30]) for start in range(0, len(words), 15)][:LONG_WINDOWS]
    pairs = [f"{a} {b}" for a, b in zip(sentences, sentences[1:], strict=False)]
    return (sentences + (pairs if len(sentences) > 2 else []))[:LONG_WINDOWS]


def _level(scores: Scores, limits: Thresholds) -> Level:
    flagged = max(scores.flagged, 1e-9)
    if scores.at_least("emergency") / flagged >= limits.level["emergency"]:
        return "emergency"
    return "urgent" if scores.at_least("urgent") / flagged >= limits.level["urgent"] else "see_doctor"


def _codes(scores: Scores, limits: Thresholds) -> tuple[Code, ...]:
    ranked = sorted(scores.codes, key=lambda code: -scores.codes[code])
    return tuple(code for code in ranked if scores.codes[code] >= limits.code) or (ranked[0],)


def _evidence(text: str, plain: str, parts: list[str], scores: list[Scores], rules: list[Finding]) -> str:
    """Return the words to show: the sentence that scores highest, or the span of a rule where the message is one sentence."""
    singles = [(score.flagged, part) for score, part in zip(scores, parts, strict=True) if len(SENTENCE.findall(part)) <= 1]
    if singles:
        top, words = max(singles)
        if not rules or top >= 0.5:
            return _as_written(words, text)
    if rules:
        return _as_written(rules[0].evidence, text)
    return _shorten(text if len(plain.split()) < 60 else plain)


def _as_written(words: str, text: str) -> str:
    at = text.lower().find(words.lower())
    return _shorten(text[at : at + len(words)] if at >= 0 else words)


def _shorten(text: str, limit: int = 160) -> str:
    words = re.sub(r"\s+", " ", text).strip()
    return words if len(words) <= limit else words[: words.rfind(" ", 0, limit)] + " …"


def _takes_back(text: str, overall: float, limits: Thresholds) -> bool:
    """Say whether a message credibly takes back what was said: by words that do so, or by much to the contrary.

    A short change of subject, or "it's nothing", never does.
    """
    if TAKE_BACK.search(normalise(text)):
        return overall < limits.retraction
    return overall < limits.retraction_without_words and len(text.split()) >= RETRACTION_WORDS
