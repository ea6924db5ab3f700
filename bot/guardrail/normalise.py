"""Folds what people and pranksters do to letters into plain lower-case words, keeping track of where each came from."""

import re
import unicodedata

from confusable_homoglyphs import confusables

INVISIBLE = re.compile(
    r"[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff]"
)
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
MARKUP = re.compile(r"</?[a-zA-Z][^<>]{0,200}>|&(?:nbsp|amp|quot|#\d{1,6});")
SPACED_LETTERS = re.compile(r"(?<![\w'])[a-zA-Z]([ .\-_*|/])(?:[a-zA-Z]\1)+[a-zA-Z](?![\w'])")
LEET = str.maketrans({"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s"})
LEET_WORD = re.compile(r"(?<!\w)(?=\w*[a-zA-Z@$])(?=[a-zA-Z@$]*[0134578@$][\w@$]*[a-zA-Z])[\w@$]{4,}(?!\w)")
QUOTES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "´": "'", "`": "'", "＇": "'", "“": '"', "”": '"', "–": "-", "—": " - "})


def clean(text: str) -> str:
    """Return `text` without invisible and control characters, in Unicode's compatibility form; what a person would see."""
    text = unicodedata.normalize("NFKC", text)
    text = INVISIBLE.sub("", text)
    return CONTROL.sub(" ", text)


def normalise(text: str) -> str:
    """Return `text` ready for matching: cleaned, tags and look-alike letters folded, split and masked words joined; case is kept."""
    text = clean(text).translate(QUOTES)
    text = MARKUP.sub(" ", text)
    text = _fold_homoglyphs(text)
    text = SPACED_LETTERS.sub(lambda match: re.sub(r"[^a-zA-Z]", "", match[0]), text)
    text = LEET_WORD.sub(lambda match: match[0] if match[0].isdigit() else _unleet(match[0]), text)
    text = re.sub(r"(?<=[a-zA-Z])[*_~^]{1,3}(?=[a-zA-Z])", "", text)
    text = re.sub(r"[*_~^#|{}\[\]\\]+", " ", text)
    text = re.sub(r"(\w)\1{3,}", r"\1\1", text)
    return re.sub(r"[ \t]+", " ", text).strip()


def _unleet(word: str) -> str:
    return word if re.fullmatch(r"\d+[a-z]{1,3}|[a-zA-Z]\d{1,2}|[a-zA-Z]+-?\d+", word) else word.translate(LEET)


def _fold_homoglyphs(text: str) -> str:
    """Fold Greek, Cyrillic and the like to Latin inside words that also have Latin letters; real Cyrillic words stay."""
    if text.isascii():
        return text
    return re.sub(r"\w+", lambda match: _fold_word(match[0]), text)


def _fold_word(word: str) -> str:
    if word.isascii() or not any("a" <= letter.lower() <= "z" for letter in word):
        return word
    return "".join(_latin(letter) for letter in word)


def _latin(letter: str) -> str:
    if letter.isascii():
        return letter
    plain = unicodedata.normalize("NFD", letter)[0]
    if plain.isascii():
        return letter
    found = confusables.is_confusable(letter, greedy=True, preferred_aliases=["latin"])
    for entry in found or []:
        for twin in entry["homoglyphs"]:
            if len(twin["c"]) == 1 and twin["c"].isascii() and twin["c"].isalpha():
                return str(twin["c"])
    return letter
