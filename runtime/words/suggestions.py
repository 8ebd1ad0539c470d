"""Suggestions for unknown words: known kinds nearest in meaning, then phrases nearest in spelling."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Final

from .phrases import singulars
from .spelling import is_typo

__all__ = ["Suggestions"]

_MOST: Final = 3
_MAX_LENGTH: Final = 80  # characters of a phrase that may be a mistyped one


class Suggestions:
    """Finds suggestions. Its tables are opened only when there is an unknown word.

    Parameters
    ----------
    phrases
        Phrases worth suggesting.
    labels
        Labels of the classes.
    similar
        Pairs: the classes nearest in meaning, and the words for which they are, joined by commas.
    real
        English words that look like mistyped phrases and are none, joined by commas: "rocket" is no "racket".
    plurals
        Singular by irregular plural.
    """

    def __init__(
        self,
        phrases: Collection[str],
        labels: Sequence[str],
        similar: Sequence[tuple[Sequence[int], str]] = (),
        real: str = "",
        plurals: Mapping[str, str] | None = None,
    ) -> None:
        self._phrases, self._labels = phrases, labels
        self._similar, self._real = similar, real
        self._plurals = plurals or {}

    def find(self, phrase: Sequence[str], strange: Sequence[str]) -> tuple[str, ...]:
        """Return at most three suggestions for an unknown part of a prompt.

        Parameters
        ----------
        phrase
            Its words.
        strange
            Those of them that are not known by themselves.
        """
        if not strange:
            return ()
        found = [*self._alike(phrase)]
        for query in dict.fromkeys((" ".join(phrase), *reversed(strange))):
            found += self._mistyped(query)
        return tuple(dict.fromkeys(found))[:_MOST]

    def _alike(self, phrase: Sequence[str]) -> Iterator[str]:
        """Yield the labels nearest in meaning to the longest end of a phrase that has any."""
        for length in (2, 1):
            for form in self._forms(" ".join(phrase[-length:])):
                if form in self._meanings:
                    yield from (self._labels[index] for index in self._meanings[form])
                    return

    def _mistyped(self, query: str) -> list[str]:
        if not 3 <= len(query) <= _MAX_LENGTH or any(form in self._words for form in self._forms(query)):
            return []
        return [phrase for phrase in self._phrases if is_typo(query, phrase)]

    def _forms(self, phrase: str) -> Sequence[str]:
        return phrase, *singulars(phrase, self._plurals)

    @cached_property
    def _meanings(self) -> dict[str, Sequence[int]]:
        return {word: indices for indices, words in self._similar for word in words.split(",")}

    @cached_property
    def _words(self) -> frozenset[str]:
        return frozenset(self._real.split(","))
