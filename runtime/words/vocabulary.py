"""A fixed vocabulary: a table from phrases to the classes of a detector.

The table is a JSON file that the export makes from hand-written synonyms and WordNet. A phrase that is in neither is
refused: a wrong mask is worse than a clear "not known".
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from ..errors import BundleError, ParameterError, UnknownPromptError
from .grammar import CUTS, DETERMINERS, JOINERS, LEADS, TRAILS
from .parser import LONGEST_PHRASE, REFUSED, Parser, Part
from .phrases import Word, is_negated, normalise, singulars, tokenise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["Term", "Vocabulary"]

_MAX_SUGGESTED: Final = 12  # words of an unknown part for which similar ones are sought
_MAX_SHOWN: Final = 80  # characters of an unknown part in an error message
_CUTOFF: Final = 0.82  # one letter in six: "zebbra" finds "zebra", "house" does not find "horse"
_SOUNDS: Final = str.maketrans("kz", "cs")
_SIGNS: Final = JOINERS - {"and", "or", "plus", "n"}
_CLOSED: Final = CUTS | DETERMINERS | LEADS | JOINERS


@dataclass(frozen=True, slots=True)
class Term:
    """One thing that a prompt names.

    Attributes
    ----------
    text
        This part of the prompt as it was typed.
    label
        Label of the class.
    index
        Index of the class, in the detector's order.
    dropped
        Attributes and relations that could not be used, as they were typed; no articles.
    """

    text: str
    label: str
    index: int
    dropped: tuple[str, ...]


class Vocabulary:
    """The phrases that a detector with fixed classes understands.

    Parameters
    ----------
    labels
        Labels of the classes, in the detector's order.
    aliases
        Class index by phrase, written by hand.
    words
        Class index by phrase, from WordNet; `aliases` goes first.
    refused
        Phrases that look like a class and are none: "gravy boat", "sea horse".
    plurals
        Singular by irregular plural.

    Examples
    --------
    >>> cats = Vocabulary(("cat", "dog"), {"kitty": 0}, {"siamese": 0})
    >>> [term.label for term in cats.resolve("the kitty and two black dogs")]
    ['cat', 'dog']
    """

    def __init__(
        self,
        labels: tuple[str, ...],
        aliases: Mapping[str, int],
        words: Mapping[str, int],
        refused: frozenset[str] = frozenset(),
        plurals: Mapping[str, str] | None = None,
    ) -> None:
        self.labels = labels
        self._aliases = {label: index for index, label in enumerate(labels)} | dict(aliases)
        self._words = words
        self._refused = refused
        self._plurals = plurals or {}
        self._first_words = {alias.partition(" ")[0] for alias in self._aliases if " " in alias}

    @classmethod
    def from_file(cls, path: Path) -> Vocabulary:
        """Read the `vocabulary.json` of a bundle.

        Raises
        ------
        BundleError
            The file cannot be read, or does not have the expected form.
        """
        try:
            content = json.loads(path.read_bytes())
            labels = tuple(content["labels"])
            found = cls(
                labels,
                dict(content["aliases"]),
                {word: index for index, group in enumerate(content["words"]) for word in group},
                frozenset(content["refused"]),
                dict(content["plurals"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{path} must be a vocabulary written by the export, got {error!r}") from error
        if not labels or not _is_well_formed(found):
            raise BundleError(f"{path} must hold words that point to one of its labels, got another index or type")
        return found

    def resolve(self, prompt: str) -> tuple[Term, ...]:
        """Return the classes that a prompt names.

        Parameters
        ----------
        prompt
            English, any length: "the man in the red shirt", "cup and two spoons".

        Returns
        -------
        tuple[Term, ...]
            In the prompt's order, each class once.

        Raises
        ------
        UnknownPromptError
            A part of the prompt is not known, or the prompt says what is *not* meant. One part is enough: a mask of the
            rest would look like an answer to all of it.
        ParameterError
            There are no words in the prompt.
        """
        text = normalise(prompt) if isinstance(prompt, str) else ""
        words = tokenise(text)
        if all(word.key in _SIGNS for word in words):
            raise ParameterError("prompt", "name something to look for", prompt)
        while len(words) > 1 and words[-1].key in TRAILS:
            words.pop()
        if is_negated(words):
            raise self._unknown(text, words)
        terms: dict[int, Term] = {}
        for part in Parser(self).parse(words):
            if part.index is None:
                raise self._unknown(text, part.words)
            terms.setdefault(part.index, self._term(text, part, part.index))
        return tuple(terms.values())

    def _term(self, text: str, part: Part, index: int) -> Term:
        dropped = tuple(text[start:end] for start, end in sorted(part.dropped))
        return Term(text[part.words[0].start : part.words[-1].end], self.labels[index], index, dropped)

    def find(self, words: Sequence[Word]) -> int | None:
        """Return the class index of a phrase, `REFUSED`, or None if it is not known."""
        if not 0 < len(words) <= LONGEST_PHRASE:
            return None
        keys = [word.key for word in words]
        found = self._look_up(" ".join(keys))
        if found is None and len(keys) == 2:
            found = self._look_up("".join(keys))  # "tooth brush"
        return found

    def _look_up(self, phrase: str) -> int | None:
        for form in self._forms(phrase):
            if form in self._refused:
                return REFUSED
            index = self._aliases.get(form, self._words.get(form))
            if index is not None:
                return index
        return None

    def _forms(self, phrase: str) -> Sequence[str]:
        return phrase, *singulars(phrase, self._plurals)

    def fixed(self, words: Sequence[Word]) -> set[int]:
        """Return the indices of words inside hand-written phrases, which must not be split or cut."""
        indices: set[int] = set()
        for start, word in enumerate(words):
            if word.key not in self._first_words:
                continue
            for length in range(2, min(LONGEST_PHRASE, len(words) - start) + 1):
                key = " ".join(each.key for each in words[start : start + length])
                if key.endswith(" of"):
                    continue  # "glass of" is a cup, whatever is in it
                if any(form in self._aliases for form in self._forms(key)):
                    indices.update(range(start, start + length))
        return indices

    def _unknown(self, text: str, words: list[Word]) -> UnknownPromptError:
        part = text[words[0].start : words[-1].end]
        shown = part if len(part) <= _MAX_SHOWN else part[: _MAX_SHOWN - 1] + "…"
        return UnknownPromptError(shown, known=len(self.labels), nearest=self._nearest(words[:_MAX_SUGGESTED]))

    def _nearest(self, words: list[Word]) -> tuple[str, ...]:
        """Return hand-written phrases with a similar spelling; the rare words of WordNet would only puzzle."""
        strange = [word for word in words if word.key not in _CLOSED and self.find([word]) is None]
        found: list[str] = []
        for query in dict.fromkeys((" ".join(word.key for word in words), *(word.key for word in reversed(strange)))):
            if strange and 3 <= len(query) <= _MAX_SHOWN:
                hits = difflib.get_close_matches(query.translate(_SOUNDS), self._folded, 3, _CUTOFF)
                # People seldom mistype a first letter, and "hair" is no misspelled "chair".
                found += [self._folded[hit] for hit in hits if hit[0] == query.translate(_SOUNDS)[0]]
        return tuple(dict.fromkeys(found))[:3]

    @cached_property
    def _folded(self) -> dict[str, str]:
        return {word.translate(_SOUNDS): word for word in self._aliases if not word.endswith(" of")}


def _is_well_formed(vocabulary: Vocabulary) -> bool:
    indices = {*vocabulary._aliases.values(), *vocabulary._words.values()}  # noqa: SLF001
    texts = [*vocabulary.labels, *vocabulary._words, *vocabulary._plurals.values()]  # noqa: SLF001
    return all(isinstance(text, str) for text in texts) and all(
        isinstance(index, int) and 0 <= index < len(vocabulary.labels) for index in indices
    )
