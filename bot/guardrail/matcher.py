"""Applies the plain rules of `kb/red_flag_rules.yaml` to one message, minding what is denied, supposed, asked about, past, or others'.

The modifiers are ConText's (Harkema 2009, doi:10.1016/j.jbi.2009.05.002): negated, hypothetical, historical, other experiencer.
Lay chat is not clinical notes, so each modifier reaches only within its clause, and in doubt a finding stands.
"""

import re
from dataclasses import dataclass

from bot.guardrail.normalise import normalise
from kb.red_flag_rules import Rule, read_rules
from kb.red_flags import Code, Level

SENTENCE = re.compile(r"[^.!?\n;]+[.!?\n;]*")
# A denial holds up to one of these words.
CLAUSE_END = re.compile(r"\b(but|except|however|though|although|apart from|only|just|yet|still|and now|, and i|until)\b|[:()]| - ")
NEGATION = re.compile(
    r"\b(no|not|never|without|nor|neither|none|denies|deny|denied|isn't|isnt|aren't|arent|wasn't|wasnt|haven't|havent|hasn't|hasnt|"
    r"hadn't|don't have|dont have|doesn't have|didn't|didnt|do not have|free of|absence of|negative for|rule out|ruled out|nothing like)\b"
)
# Words that look like a denial and are none.
PSEUDO_NEGATION = re.compile(
    r"\b(not only|not just|no longer|no better|not sure|no idea|not getting|why not|cannot|can not|not able|no matter|no wonder|not to mention|no change|not eased|no relief|not improving|no position)\b"
)
QUESTION_ABOUT = re.compile(
    r"^\W*(so |ok |and |but |hi |hello |quick question )*(what (is|are|does|do|would|should|happens|causes|counts|if)|what's|whats|how (do|does|would|can|common|likely|to|many|much)|"
    r"is (it|numbness|weakness|fever|there|a|an|the|back pain|pain)\b|are (there|fevers|red flags)|can (a|an|the|back|running|stress|sciatica|ibuprofen|discs?|it|you|people|someone|this|pain)\b|"
    r"could (a|an|the|back|running)\b|does (a|an|the|running|back|sciatica|it|everyone|anyone|pain)\b|do (people|runners|most|all|discs?)\b|why (do|does|is|are)|"
    r"explain|define|tell me about|describe|list|which (symptoms|signs)|when (is|should|does|do)|at what point|should (people|someone|runners))"
)
HYPOTHETICAL = re.compile(
    r"\b(what if|if (i|you|he|she|it|someone|my|there|we|they) (get|got|had|have|ever|were|was|start|started|lose|lost|become|develop|feel|felt|should|begin|notice|can't)|in case|suppose|supposing|imagine|hypothetically|"
    r"worried (i|it) (might|may|could|will)|scared of (getting|ending)|would (it|that) be|signs? of|symptoms? of|warning signs?|red flags? (like|such as|are)|risk of|prevent\w*|avoid\w*|look out for|"
    r"the leaflet|i read (about|that)|read an article|the article|a podcast|essay|exam|revision|homework|quiz|novel|character|my dissertation|coursework)\b"
)
HISTORICAL = re.compile(
    r"\b((\d+|a few|some|many|several|two|three|four|five|six|seven|eight|nine|ten|twenty|a couple of) (years|yrs|decades) ago|years (ago|back)|in (19|20)\d\d|back in|as a (kid|child|teenager|student)|when i was (a |young|little|\d)|"
    r"used to|last (year|summer|winter|spring|autumn)|all (fine|better|good|clear|sorted|settled|healed) now|fully (recovered|healed|better|gone)|(normal|fine|gone|right as rain) (again )?(once|as soon as|when|after|by) (i|the)\b.{0,12}(stood|walk\w*|mov\w*|got (up|off)|car park)?|has (since )?(healed|resolved|gone completely)|long gone|in the past|previously had|once had)\b"
)
ONGOING = re.compile(
    r"\b(now|again|today|since|this (week|morning|time)|still|came back|is back|started|currently|yesterday|lately|at the moment|ongoing|keeps?)\b"
)
OTHERS_PAST = re.compile(
    r"\bmy (late )?(gran\w*|nan|nana|grand(ma|pa|mother|father)|aunt\w*|uncle|cousin|friend|mate|neighbou?r|colleague|co-?worker|boss|teacher|coach|dad|father|mum|mom|mother|brother|sister|ex|great-?\w+)('s)?\b.{0,30}\b(had|was|did|died|got|used to|suffered|broke|survived)\b"
    r"|\b(family history|runs in (the|my) family|someone i know|a (guy|girl|woman|man|friend) (at|in|from|i know))\b"
)


@dataclass(frozen=True)
class Finding:
    """A rule that fired: its flag, level, and the words that it rests on, as the person wrote them."""

    code: Code
    level: Level
    evidence: str
    rule: str


def find_flags(text: str) -> list[Finding]:
    """Return what the plain rules find in one message, in the order of the rules; each rule fires at most once."""
    found: dict[str, Finding] = {}
    plain = normalise(text)
    sentences = [match[0] for match in SENTENCE.finditer(plain)] or [plain]
    # A fact may take two sentences ("My back went. Now I can't pee."); pairs are read too, with each sentence's own modifiers.
    windows = [[s] for s in sentences] + [[a, b] for a, b in zip(sentences, sentences[1:], strict=False)]
    for window in windows:
        joined = "".join(window)
        lowered = joined.lower()
        blocked = _blocked(window)
        if all(blocked):
            continue
        for rule in read_rules().rules:
            if rule.id in found:
                continue
            span = _match(rule, lowered, blocked)
            if span:
                found[rule.id] = Finding(rule.code, rule.level, joined[span[0] : span[1]].strip(" .,;"), rule.id)
    return [found[rule.id] for rule in read_rules().rules if rule.id in found]


def _blocked(sentences: list[str]) -> list[bool]:
    """Say for each character of the joined sentences whether a modifier takes it out of play."""
    mask: list[bool] = []
    for sentence in sentences:
        text = sentence.lower()
        whole = (
            bool(
                QUESTION_ABOUT.search(text)
                and not re.search(
                    r"\b(i|i'm|im|i've|ive|me|mine|my (back|leg|legs|bum|foot|bladder|wife|husband|son|daughter|mum|dad))\b", text
                )
            )
            or bool(HYPOTHETICAL.search(text) and not ONGOING.search(text))
            or bool(HISTORICAL.search(text) and not ONGOING.search(text))
            or bool(OTHERS_PAST.search(text) and not re.search(r"\b(i|me|my back)\b.{0,20}\b(have|feel|got|hurts?|is)\b", text))
        )
        marks = [whole] * len(sentence)
        if not whole:
            for negation in NEGATION.finditer(text):
                if PSEUDO_NEGATION.match(text, negation.start()):
                    continue
                end = CLAUSE_END.search(text, negation.end())
                stop = min(end.start() if end else len(text), negation.end() + 90)
                for i in range(negation.start(), stop):
                    marks[i] = True
        mask += marks
    return mask


def _match(rule: Rule, text: str, blocked: list[bool]) -> tuple[int, int] | None:
    """Return the span of the closest set of findings, one for each concept, or None."""
    spans: list[list[tuple[int, int]]] = []
    for pattern in read_rules().patterns(rule):
        # A concept that itself begins with a denial ("no feeling", "can't pee") is judged by what stands before it.
        hits = [m.span() for m in pattern.finditer(text) if not blocked[m.start()] or _denial_is_own(text, m.start(), blocked)]
        if not hits:
            return None
        spans.append(hits)
    best: tuple[int, int] | None = None
    for anchor in spans[0]:
        low, high = anchor
        for hits in spans[1:]:
            near = min(hits, key=lambda hit: max(hit[0] - high, low - hit[1], 0))
            low, high = min(low, near[0]), max(high, near[1])
        if (not rule.within or len(text[low:high].split()) <= rule.within + 2) and (best is None or high - low < best[1] - best[0]):
            best = (low, high)
    return best


def _denial_is_own(text: str, start: int, blocked: list[bool]) -> bool:
    return bool(NEGATION.match(text, start)) and (start == 0 or not blocked[start - 1])
