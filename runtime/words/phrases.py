"""English phrases: a prompt as words, singular forms, negation."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .grammar import CUTS, LEADS, NEGATIONS, NEGATIVE_PAIRS

__all__ = ["Word", "is_negated", "normalise", "singulars", "tokenise"]

_LETTER = r"(?:[^\W_]|[\u0900-\u0903\u093a-\u094f\u0951-\u0957\u0962\u0963])"  # with the vowel signs of Hindi
_PICTURE = r"[\u2190-\u2bff\U0001f000-\U0001faff][\ufe0f\U0001f3fb-\U0001f3ff]*"
_WORD = re.compile(
    rf"{_LETTER}+(?:'{_LETTER}+)*'?|{_PICTURE}(?:\u200d{_PICTURE})*|[,;/&+|\n]|(?<!\bst)(?<!\bmr)(?<!\bdr)\.(?=\s|$)",
    re.IGNORECASE,
)
_NEVER_OWNERS = LEADS | CUTS  # "what's" is no owner
_ENDINGS = {
    "ies": ("y", "ie"),
    "ves": ("f", "fe", "ve"),
    "ses": ("s", "se"),
    "xes": ("x", "xe"),
    "zes": ("z", "ze"),
    "ches": ("ch", "che"),
    "shes": ("sh", "she"),
    "oes": ("o", "oe"),
}


@dataclass(frozen=True, slots=True)
class Word:
    """One word or separator.

    Attributes
    ----------
    key
        Case-folded, without the possessive ending.
    start, end
        Its characters in the normalised prompt.
    possessive
        Whether it owns what follows: ``dog's``, ``dogs'``.
    glued
        Whether a hyphen joins it to the word before, so that the "and" of "black-and-white" separates nothing.
    """

    key: str
    start: int
    end: int
    possessive: bool = False
    glued: bool = False


def normalise(prompt: str) -> str:
    """Return a prompt with one form of compatible characters, quotes, dashes and line ends.

    Examples
    --------
    >>> normalise("the dog’s ﬁsh")
    "the dog's fish"
    """
    text = unicodedata.normalize("NFKC", prompt)
    return text.translate({0x2019: "'", 0x2018: "'", 0x60: "'", 0x2010: "-", 0x2011: "-", 0x2028: "\n", 0x0D: "\n"})


def tokenise(text: str) -> list[Word]:
    """Split a normalised prompt into words and separators.

    Examples
    --------
    >>> [word.key for word in tokenise("The dog's bowl, please")]
    ['the', 'dog', 'bowl', ',', 'please']
    """
    words: list[Word] = []
    for match in _WORD.finditer(text):
        raw, start = match[0].casefold(), match.start()
        glued = bool(words) and words[-1].end == start - 1 and text[start - 1] == "-"
        bare = raw.rstrip("'")
        possessive = bare.endswith("'s") or (raw != bare and bare.endswith("s"))
        key = bare[:-2] if bare.endswith("'s") and bare not in _NEVER_OWNERS else bare
        words.append(Word(key, start, start + len(match[0]), possessive and key not in _NEVER_OWNERS, glued))
    return words


def is_negated(words: Sequence[Word]) -> bool:
    """Return whether the words say what is *not* meant; a mask of that would be the opposite of the request.

    Examples
    --------
    >>> is_negated(tokenise("everything except the dog"))
    True
    """
    keys = [word.key for word in words]
    if any(key in NEGATIONS or key.endswith("n't") for key in keys):
        return True
    return any(pair in NEGATIVE_PAIRS for pair in pairwise(keys))


def singulars(phrase: str, irregular: Mapping[str, str]) -> list[str]:
    """Return the singular forms that a phrase may be the plural of, likeliest first.

    Parameters
    ----------
    phrase
        Case-folded words; the last one may be a plural.
    irregular
        Singular by irregular plural.

    Examples
    --------
    >>> singulars("wine glasses", {})
    ['wine glass', 'wine glasse']
    """
    first, space, last = phrase.rpartition(" ")
    return [first + space + form for form in _singular_words(last, irregular)]


def _singular_words(word: str, irregular: Mapping[str, str]) -> list[str]:
    if word in irregular or (len(word) > 4 and word.endswith("men")):
        return [irregular.get(word, word[:-3] + "man")]
    if len(word) < 3 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return []
    for ending, replacements in _ENDINGS.items():
        if word.endswith(ending):
            return [word[: -len(ending)] + replacement for replacement in replacements]
    return [word[:-1]]
