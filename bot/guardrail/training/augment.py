"""Automatic variants of training messages: the noise of phones and voices, and company that must not change a label."""

import random
import re

NEIGHBOURS = {
    "q": "wa", "w": "qes", "e": "wrd", "r": "etf", "t": "ryg", "y": "tuh", "u": "yij", "i": "uok", "o": "ipl", "p": "ol",
    "a": "qsz", "s": "adwx", "d": "sfec", "f": "dgrv", "g": "fhtb", "h": "gjyn", "j": "hkum", "k": "jlim", "l": "kop",
    "z": "asx", "x": "zsdc", "c": "xdfv", "v": "cfgb", "b": "vghn", "n": "bhjm", "m": "njk",
}  # fmt: skip
BEFORE = (
    "Hi there, ", "hello. ", "quick question: ", "sorry to bother you but ", "ok so ", "probably nothing but ", "Hi doc, ",
    "not sure this is the right place. ", "my wife says I should ask. ", "hey, ", "Good morning. ", "long time runner here. ", "um ",
)  # fmt: skip
AFTER = (
    " thanks in advance", " Any ideas?", " ta", " what do you think?", " cheers", " Thank you so much for your help.", " lol",
    " sorry for the long message", " Is that normal?", " Should I still run on Sunday?", " also which shoes are best?", " 🙏", " x",
)  # fmt: skip


def noisy(text: str, rng: random.Random) -> str:
    """Return `text` as a hurried person might have typed it: with some of case, punctuation or letters gone wrong."""
    kind = rng.random()
    if kind < 0.20:
        text = text.lower()
    elif kind < 0.26:
        text = text.upper()
    if rng.random() < 0.25:
        text = re.sub(r"[^\w\s]", "", text)
    if rng.random() < 0.25:
        text = mistyped(text, rng, rate=rng.uniform(0.01, 0.05))
    return text


def mistyped(text: str, rng: random.Random, *, rate: float) -> str:
    """Return `text` with about `rate` of its letters dropped, doubled, swapped with the next or hit on a neighbouring key."""
    out: list[str] = []
    letters = list(text)
    skip = False
    for i, letter in enumerate(letters):
        if skip:
            skip = False
            continue
        if not letter.isalpha() or rng.random() >= rate:
            out.append(letter)
            continue
        kind = rng.randrange(4)
        if kind == 1:
            out += [letter, letter]
        elif kind == 2 and i + 1 < len(letters):
            out += [letters[i + 1], letter]
            skip = True
        elif kind == 3:
            out.append(rng.choice(NEIGHBOURS.get(letter.lower(), letter)))
    return "".join(out)


def in_company(text: str, other: str, rng: random.Random) -> str:
    """Return `text` with harmless company: pleasantries, or a whole benign message before or after it."""
    kind = rng.random()
    if kind < 0.35:
        return (rng.choice(BEFORE) if rng.random() < 0.6 else "") + text + (rng.choice(AFTER) if rng.random() < 0.6 else "")
    return f"{other} {text}" if rng.random() < 0.5 else f"{text} {other}"
