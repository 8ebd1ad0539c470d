"""Exclusion: "everything but the cup", "animals except dogs", "the man without the bicycle"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .grammar import DETERMINERS, LEADS, NEGATIVE_PAIRS
from .phrases import Word

__all__ = ["Exclusion", "find_exclusion"]

_MARKERS: Final = frozenset(
    {
        ("except",),
        ("except", "for"),
        ("excepting",),
        ("excluding",),
        ("but",),
        ("but", "not"),
        ("but", "for"),
        ("but", "no"),
        ("and", "not"),
        ("and", "no"),
    }
    | {("not",), ("minus",), ("without",)}
    | (NEGATIVE_PAIRS - {("rather", "than")})
)
_ALL: Final = frozenset({"all", "everything", "anything", "every", "any"})
_ALONE: Final = frozenset({("not",), ("except",), ("excluding",), ("except", "for")})
"""Markers that may begin a prompt: "not the cup"."""


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A prompt in two halves.

    Attributes
    ----------
    wanted
        The words before the marker; empty where they are only "everything".
    excluded
        The words after it.
    is_optional
        Whether the marker may also begin an attribute: "a man *without* a hat".
    """

    wanted: list[Word]
    excluded: list[Word]
    is_optional: bool


def find_exclusion(words: Sequence[Word]) -> Exclusion | None:
    """Return the halves of a prompt at its first marker of exclusion; None if it has none, or nothing after it.

    Examples
    --------
    >>> from automask.words.phrases import tokenise
    >>> halves = find_exclusion(tokenise("all animals but the dog"))
    >>> [word.key for word in halves.wanted], [word.key for word in halves.excluded]
    (['all', 'animals'], ['the', 'dog'])
    """
    keys = [word.key for word in words]
    for at in range(len(words)):
        for length in (2, 1):
            marker = tuple(keys[at : at + length])
            if marker in _MARKERS:
                return _halves(list(words[:at]), marker, list(words[at + length :]))
    return None


def _halves(before: list[Word], marker: tuple[str, ...], after: list[Word]) -> Exclusion | None:
    rest = [word for word in before if word.key not in DETERMINERS | LEADS | _ALL | {"of", ","}]
    is_all = not rest and any(word.key in _ALL for word in before)
    if not after or not (rest or is_all or marker in _ALONE):
        return None
    return Exclusion(before if rest else [], after, marker == ("without",))
