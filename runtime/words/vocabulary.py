"""Free text → one of the classes of a fixed-vocabulary detector, or a refusal.

The dictionary is a JSON file, made at export from hand-written aliases and WordNet. A word that is in neither is
refused: a wrong mask is worse than a clear "not known".
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass, field
from functools import cached_property
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

from automask.words import phrases

from ..errors import BundleError, ParameterError, UnknownPromptError
from .phrases import Word

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Term", "Vocabulary"]

_LONGEST_PHRASE: Final = 5
_LONGEST_QUESTION: Final = 12  # words of an unknown part for which alike ones are sought
_SHOWN_LENGTH: Final = 80  # of a part that was not understood, in the error's message
_CUTOFF: Final = 0.82  # one letter in six: "zebbra" finds "zebra", "house" does not find "horse"
_REFUSED: Final = -1
_SOUNDS: Final = str.maketrans("kz", "cs")
_Span = tuple[int, int]  # of characters, in the normalised prompt


@dataclass(frozen=True, slots=True)
class Term:
    """One thing that a prompt names.

    Attributes
    ----------
    text
        This part of the prompt as it was typed.
    label
        The class it is.
    index
        Index of the class, in the detector's order.
    dropped
        What was said about it and could not be used, as it was typed: attributes and relations, not articles.
    """

    text: str
    label: str
    index: int
    dropped: tuple[str, ...]


@dataclass(slots=True)
class _Part:
    """A stretch of words between separators, and what was made of it; `index` is None when it is not known."""

    words: list[Word]
    separator: str
    index: int | None = None
    dropped: list[_Span] = field(default_factory=list)
    opener: str | None = None  # the word at which a clause was cut off

    def extend(self, words: list[Word]) -> None:
        """Take further words into the clause that was cut off, or make them one."""
        self.dropped.sort()
        start = self.dropped.pop()[0] if self.opener else words[0].start
        self.opener = self.opener or words[0].key
        self.words += words
        self.dropped.append((start, words[-1].end))


class Vocabulary:
    """The words that a detector with fixed classes understands.

    Parameters
    ----------
    labels
        Names of the classes, in the detector's order.
    aliases
        Phrase → class index, written by hand.
    words
        Phrase → class index, from WordNet; `aliases` goes before it.
    refused
        Phrases that look like a class and are none: "gravy boat", "sea horse".
    plurals
        Irregular plural → singular.

    Notes
    -----
    The head of a noun phrase is its longest suffix that is known, *refused* phrases included: "the red wine glass" is
    a wine glass, "gravy boat" is nothing, although "boat" is.
    """

    def __init__(
        self,
        labels: tuple[str, ...],
        aliases: dict[str, int],
        words: dict[str, int],
        refused: frozenset[str] = frozenset(),
        plurals: dict[str, str] | None = None,
    ) -> None:
        self.labels = labels
        self._aliases = {label: index for index, label in enumerate(labels)} | aliases
        self._words = words
        self._refused = refused
        self._plurals = plurals or {}
        self._first_words = {alias.partition(" ")[0] for alias in self._aliases if " " in alias}

    @classmethod
    def from_file(cls, path: Path) -> Vocabulary:
        """Read a bundle's `vocabulary.json`.

        Raises
        ------
        BundleError
            The file cannot be read, or is not of the expected shape.
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
        if not labels or not _well_formed(found):
            raise BundleError(f"{path} must hold words that point to one of its labels, got another index or type")
        return found

    def resolve(self, prompt: str) -> tuple[Term, ...]:
        """Find the classes that a prompt names.

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
        text = phrases.normalise(prompt) if isinstance(prompt, str) else ""
        words = phrases.tokenise(text)
        if all(word.key in phrases.JOINERS - {"and", "or", "plus", "n"} for word in words):
            raise ParameterError("prompt", "name something to look for", prompt)
        while len(words) > 1 and words[-1].key in phrases.TRAILS:
            words.pop()
        if phrases.is_negated(words):
            raise self._unknown(text, words)
        terms: dict[int, Term] = {}
        for part in self._parts(words):
            if part.index is None:
                raise self._unknown(text, part.words)
            terms.setdefault(part.index, self._term(text, part, part.index))
        return tuple(terms.values())

    def _term(self, text: str, part: _Part, index: int) -> Term:
        dropped = tuple(text[start:end] for start, end in sorted(part.dropped))
        return Term(text[part.words[0].start : part.words[-1].end], self.labels[index], index, dropped)

    # --- from words to parts

    def _parts(self, words: list[Word]) -> list[_Part]:
        pieces = list(self._split(words))
        parts: list[_Part] = []
        held: list[Word] = []  # "red" of "red and white umbrella"
        for piece, after in zip_longest(pieces, pieces[1:]):
            if after and _is_adjectives(piece.words, after.words):
                held += piece.words
            elif not held and parts and self._belongs_before(piece, parts[-1]):
                parts[-1].extend(piece.words)
            else:
                piece.words, held = held + piece.words, []
                self._understand(piece)
                parts.append(piece)
        return parts or [_Part(words, "")]

    def _split(self, words: list[Word]) -> Iterator[_Part]:
        protected = self._protected(words)
        part = _Part([], "")
        for place, word in enumerate(words):
            if word.key in phrases.JOINERS and not word.glued and place not in protected:
                if part.words:
                    yield part
                part = _Part([], word.key)
            else:
                part.words.append(word)
        if part.words:
            yield part

    def _belongs_before(self, part: _Part, before: _Part) -> bool:
        """Tell "the man in hat *and coat*" and "a cup, *which is red*" from a second thing."""
        first = part.words[0].key
        if before.index is None:
            return False
        if first in phrases.PARTICIPLES or first in phrases.CUTS:
            return True
        if part.separator not in {"and", "or", "&"} or before.opener is None:
            return False
        if before.opener == "between":
            before.opener = "with"  # "between the fork *and the knife*": one "and" only
            return True
        if first in phrases.DETERMINERS or first in phrases.LEADS:
            return False
        return before.opener in phrases.OPENERS or self._head(part.words)[1] is None

    # --- from a part to its class

    def _understand(self, part: _Part) -> None:
        protected = self._protected(part.words)
        words, dropped = part.words, part.dropped
        if (whole := self._find(words)) is not None:
            part.index = None if whole == _REFUSED else whole
            return
        start = _lead(words, protected)
        end = self._cut(words, start, protected)
        if end < len(words):
            part.opener = words[end].key
            dropped.append((words[end].start, words[-1].end))
        start, end = self._of(words, start, end, protected, dropped)
        start = self._owned(words, start, end, dropped)
        while start < end and words[start].key in phrases.DETERMINERS:
            start += 1
        length, part.index = self._head(words[start:end])
        if part.index is not None and end - length > start:
            dropped.append((words[start].start, words[end - length - 1].end))

    def _cut(self, words: list[Word], start: int, protected: set[int]) -> int:
        """Find where the noun phrase ends: a preposition, a relative clause, a participle after a known noun."""
        for place in range(start, len(words)):
            word, followed = words[place], place + 1 < len(words)
            if place in protected or word.glued or (followed and words[place + 1].glued and word.key != "mid"):
                continue
            following = words[place + 1].key if followed else ""
            if word.key in phrases.CUTS or (word.key in {"next", "close", "adjacent"} and following in {"to", "by"}):
                return place
            if place > start and word.key in phrases.PARTICIPLES and self._head(words[start:place])[1] is not None:
                return place
        return len(words)

    def _of(
        self, words: list[Word], start: int, end: int, protected: set[int], dropped: list[_Span]
    ) -> tuple[int, int]:
        """Step over "a slice of", or end the noun phrase before "of"."""
        for place in range(start + 1, end):
            if words[place].key != "of" or place in protected:
                continue
            if not self._is_measure(words[place - 1].key):
                dropped.append((words[place].start, words[end - 1].end))
                # "glass of" and "bed of" are entries of their own: a cup, and nothing to lie on
                return start, place + (self._find(words[place - 1 : place + 1]) is not None)
            while words[start].key in phrases.DETERMINERS:
                start += 1
            dropped.append((words[start].start, words[place].end))
            start = place + 1
        return start, end

    def _owned(self, words: list[Word], start: int, end: int, dropped: list[_Span]) -> int:
        """Step over owners: "the dog's bowl" is a bowl, but "adam's apple" is a word of its own."""
        for place in range(end - 2, start - 1, -1):
            if words[place].possessive and self._find(words[place:end]) is None:
                dropped.append((words[start].start, words[place].end))
                return place + 1
        return start

    def _is_measure(self, key: str) -> bool:
        return any(form in phrases.MEASURES for form in (key, *phrases.singulars(key, {})))

    def _head(self, words: list[Word]) -> tuple[int, int | None]:
        """Find the longest known suffix: how many words it has, and its class (None: refused, or not known)."""
        for length in range(min(len(words), _LONGEST_PHRASE), 0, -1):
            found = self._find(words[-length:])
            if found is not None:
                return length, None if found == _REFUSED else found
        return 0, None

    def _protected(self, words: list[Word]) -> set[int]:
        """Find the places inside hand-written phrases, where nothing may be split or cut."""
        places: set[int] = set()
        for start, word in enumerate(words):
            if word.key not in self._first_words:
                continue
            for length in range(2, min(_LONGEST_PHRASE, len(words) - start) + 1):
                key = " ".join(each.key for each in words[start : start + length])
                if key.endswith(" of"):
                    continue  # "glass of" names a cup, whatever is in it
                if any(form in self._aliases for form in (key, *phrases.singulars(key, self._plurals))):
                    places.update(range(start, start + length))
        return places

    # --- the dictionary

    def _find(self, words: list[Word]) -> int | None:
        """Look a phrase up: its class, `_REFUSED`, None when it is not known."""
        if not 0 < len(words) <= _LONGEST_PHRASE:
            return None
        keys = [word.key for word in words]
        found = self._look_up(" ".join(keys))
        if found is None and len(keys) == 2:
            found = self._look_up("".join(keys))  # "tooth brush"
        return found

    def _look_up(self, phrase: str) -> int | None:
        for form in (phrase, *phrases.singulars(phrase, self._plurals)):
            if form in self._refused:
                return _REFUSED
            index = self._aliases.get(form, self._words.get(form))
            if index is not None:
                return index
        return None

    # --- what to say about the rest

    def _unknown(self, text: str, words: list[Word]) -> UnknownPromptError:
        part = text[words[0].start : words[-1].end]
        shown = part if len(part) <= _SHOWN_LENGTH else part[: _SHOWN_LENGTH - 1] + "…"
        return UnknownPromptError(shown, known=len(self.labels), nearest=self._nearest(words[:_LONGEST_QUESTION]))

    def _nearest(self, words: list[Word]) -> tuple[str, ...]:
        """Find hand-written words that are spelled alike; the rare ones of WordNet would only puzzle."""
        closed = phrases.CUTS | phrases.DETERMINERS | phrases.LEADS | phrases.JOINERS
        strange = [word for word in words if word.key not in closed and self._find([word]) is None]
        found: list[str] = []
        for query in dict.fromkeys((" ".join(word.key for word in words), *(word.key for word in reversed(strange)))):
            if strange and 3 <= len(query) <= _SHOWN_LENGTH:
                hits = difflib.get_close_matches(query.translate(_SOUNDS), self._folded, 3, _CUTOFF)
                # People seldom mistype a first letter, and "hair" is no misspelled "chair".
                found += [self._folded[hit] for hit in hits if hit[0] == query.translate(_SOUNDS)[0]]
        return tuple(dict.fromkeys(found))[:3]

    @cached_property
    def _folded(self) -> dict[str, str]:
        return {word.translate(_SOUNDS): word for word in self._aliases if not word.endswith(" of")}


def _lead(words: list[Word], protected: set[int]) -> int:
    """Step over what comes before the noun phrase: "please mask all of the"."""
    start, led = 0, False
    while start < len(words) and start not in protected:
        key = words[start].key
        if key in phrases.LEADS:
            led = True
        elif key not in phrases.DETERMINERS and not (led and key in phrases.FOLLOW):
            break
        start += 1
    return start


def _is_adjectives(before: list[Word], after: list[Word]) -> bool:
    """Tell "red and white umbrella" from two things; the fruit in "an orange and an apple" is one."""
    keys = [word.key for word in before if word.key not in phrases.DETERMINERS | phrases.LEADS]
    if keys == ["orange"]:
        return len(after) > 1 and after[0].key in phrases.COLOURS
    return bool(keys) and all(key in phrases.ADJECTIVES for key in keys)


def _well_formed(vocabulary: Vocabulary) -> bool:
    indices = {*vocabulary._aliases.values(), *vocabulary._words.values()}  # noqa: SLF001
    texts = [*vocabulary.labels, *vocabulary._words, *vocabulary._plurals.values()]  # noqa: SLF001
    return all(isinstance(text, str) for text in texts) and all(
        isinstance(index, int) and 0 <= index < len(vocabulary.labels) for index in indices
    )
