"""The words of a finder that reads free text: a prompt as phrases."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from ..errors import ParameterError
from .exclusion import Exclusion, find_exclusion
from .grammar import CUTS, DETERMINERS, JOINERS, LEADS, TRAILS
from .meaning import Meaning
from .parser import Parser
from .phrases import Word, is_negated, normalise, tokenise

__all__ = ["FreeText"]

_JOINERS: Final = JOINERS - {"n", "plus"}  # "rock n roll poster", "plus sign": one thing for a model that reads text
_SIGNS: Final = _JOINERS - {"and", "or"}
_INSIDE: Final = re.compile(r"(?<=\d)[,/+&](?=\d)|\+{2,}|(?<=\w)&(?=\w)")
"""Signs inside a word, which separate nothing: "1,000", "24/7", "C++", "AT&T"."""


class FreeText:
    """An open vocabulary for finders: every prompt is one or more phrases, and the model reads all words of each.

    Attributes
    ----------
    labels
        Empty: there are no fixed ones.
    """

    labels: tuple[str, ...] = ()

    def resolve(self, prompt: str) -> Meaning[tuple[str, ...]]:
        """Split a prompt into phrases, as they were typed, each once.

        Attributes and relations stay in their phrase. Only words of the request ("please mask the …") are left out.
        "Without" stays in its phrase as well: "a man without a hat" is one description.

        Raises
        ------
        ParameterError
            There are no words in the prompt.

        Examples
        --------
        >>> FreeText().resolve("the red cup on the left, and a spoon").wanted
        ('the red cup on the left', 'a spoon')
        >>> meaning = FreeText().resolve("animals except dogs")
        >>> meaning.wanted, meaning.excluded
        (('animals',), ('dogs',))
        """
        text = normalise(prompt) if isinstance(prompt, str) else ""
        words = _glue(text, tokenise(text))
        if all(word.key in _SIGNS for word in words):
            raise ParameterError("prompt", "name something to look for", prompt)
        while len(words) > 1 and words[-1].key in TRAILS:
            words.pop()
        halves = _exclusion(words)
        if halves is None:
            return Meaning(_phrases(text, words), warnings=_warn(text, words))
        excluded = _phrases(text, halves.excluded)
        if not halves.wanted:
            note = f"read as: everything in the picture but {' and '.join(excluded)}"
            return Meaning(excluded, invert=True, warnings=(note,))
        wanted = _phrases(text, halves.wanted)
        note = f"read as: {' and '.join(wanted)}, without what is {' and '.join(excluded)}"
        return Meaning(wanted, excluded, warnings=(note,))


class _AnyNoun:
    """The lexicon of a parser that knows every single word, so that it finds where clauses begin."""

    def find(self, words: Sequence[Word]) -> int | None:
        return 0 if len(words) == 1 and words[0].key not in CUTS | DETERMINERS else None

    def find_foreign(self, words: Sequence[Word]) -> None:
        del words

    def may_precede(self, words: Sequence[Word], index: int) -> bool:
        del words, index
        return True

    def fixed(self, words: Sequence[Word]) -> frozenset[int]:
        del words
        return frozenset()


def _glue(text: str, words: Sequence[Word]) -> list[Word]:
    inside = {at for match in _INSIDE.finditer(text) for at in range(*match.span())}
    return [replace(word, glued=True) if word.start in inside else word for word in words]


def _exclusion(words: Sequence[Word]) -> Exclusion | None:
    """Return the halves of a prompt that says what to leave out; None where the words belong to a description."""
    halves = find_exclusion(words)
    if halves is None or halves.is_optional or is_negated(halves.wanted) or is_negated(halves.excluded):
        return None
    is_verb = halves.wanted and all(word.key in CUTS for word in halves.wanted)  # "do not enter sign"
    return None if is_verb or all(word.key in _SIGNS for word in halves.excluded) else halves


def _phrases(text: str, words: Sequence[Word]) -> tuple[str, ...]:
    """Return the phrases of some words as they were typed, in order, each once whatever its case."""
    tokens = tokenise(text)
    starts, ends = [word.start for word in tokens], [word.end for word in tokens]
    phrases: dict[str, str] = {}
    for part in Parser(_AnyNoun(), _JOINERS).parse(list(words)):
        kept = part.words[_request_length(part.words) :]
        # With the signs around the words, which are no words themselves: "#5".
        before, after = bisect_right(ends, kept[0].start), bisect_left(starts, kept[-1].end)
        start, end = ends[before - 1] if before else 0, starts[after] if after < len(starts) else len(text)
        phrase = text[start:end].strip()
        phrases.setdefault(phrase.casefold(), phrase)
    return tuple(phrases.values())


def _request_length(words: Sequence[Word]) -> int:
    """Return how many words before a phrase are the request: "please mask" of "please mask the dog".

    Only an article or pronoun after them shows that they are no part of the phrase: "mask of a clown", "face mask".
    """
    length = 0
    while length < len(words) - 1 and words[length].key in LEADS:
        length += 1
    return length if words[length].key in DETERMINERS - {"of"} and length < len(words) - 1 else 0


def _warn(text: str, words: Sequence[Word]) -> tuple[str, ...]:
    if not is_negated(words):
        return ()
    return (f"{text.strip()!r} says what is not meant; models that read free text often overlook a negation",)
