"""A parser of prompts: words into parts, each part into the known noun and the words that are dropped."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Final, Protocol, TypeAlias

from .grammar import (
    ADJECTIVES,
    COLOURS,
    CUTS,
    DETERMINERS,
    FOLLOW,
    JOINERS,
    LEADS,
    MEASURES,
    OPENERS,
    PARTICIPLES,
)
from .phrases import Word, singulars

__all__ = ["LONGEST_PHRASE", "REFUSED", "Lexicon", "Parser", "Part"]

LONGEST_PHRASE: Final = 5
"""Most words of a known phrase."""

REFUSED: Final = -1
"""What a lexicon returns for a phrase that looks like a class and is none."""

_Span: TypeAlias = tuple[int, int]  # of characters, in the normalised prompt


class Lexicon(Protocol):
    """The known phrases."""

    def find(self, words: Sequence[Word]) -> int | None:
        """Return the class index of a phrase, `REFUSED`, or None if it is not known."""

    def find_foreign(self, words: Sequence[Word]) -> tuple[int, str] | None:
        """Return the index of a noun phrase in another language, and a warning about it (may be empty)."""

    def may_precede(self, words: Sequence[Word], index: int) -> bool:
        """Return whether words before a known noun leave its meaning alone: "wild" animal, and not "cat" food."""

    def fixed(self, words: Sequence[Word]) -> Collection[int]:
        """Return the indices of words inside fixed phrases, which must not be split or cut."""


@dataclass(slots=True)
class Part:
    """The words between two separators, and what they mean.

    Attributes
    ----------
    words
        Its words.
    separator
        Key of the word or sign before it; empty for the first part.
    index
        Class index; None if the part is not known.
    dropped
        Characters of what was not used.
    opener
        Key of the word that begins the dropped clause at the end, if there is one.
    warning
        A sentence about how it was read; may be empty.
    """

    words: list[Word]
    separator: str
    index: int | None = None
    dropped: list[_Span] = field(default_factory=list)
    opener: str | None = None
    warning: str = ""

    def extend(self, words: list[Word]) -> None:
        """Add words to the dropped clause at the end; without one, they become it."""
        self.dropped.sort()
        start = self.dropped.pop()[0] if self.opener else words[0].start
        self.opener = self.opener or words[0].key
        self.words += words
        self.dropped.append((start, words[-1].end))


class Parser:
    """Finds the known nouns of a prompt.

    Parameters
    ----------
    lexicon
        The known phrases.
    joiners
        Words and signs that separate two things.

    Notes
    -----
    The head of a noun phrase is its longest known suffix, *refused* phrases included: "the red wine glass" is a wine
    glass, "gravy boat" is nothing, although "boat" is known.
    """

    def __init__(self, lexicon: Lexicon, joiners: Collection[str] = JOINERS) -> None:
        self._lexicon, self._joiners = lexicon, joiners

    def parse(self, words: list[Word]) -> list[Part]:
        """Return the parts of a prompt of at least one word, in order; there is at least one."""
        pieces = list(self._split(words))
        parts: list[Part] = []
        held: list[Word] = []  # "red" of "red and white umbrella"
        for piece, after in zip_longest(pieces, pieces[1:]):
            if after and _are_adjectives(piece.words, after.words):
                held += piece.words
            elif not held and parts and self._continues(piece, parts[-1]):
                parts[-1].extend(piece.words)
            else:
                piece.words, held = held + piece.words, []
                self._understand(piece)
                parts.append(piece)
        return parts or [Part(words, "")]

    def _split(self, words: list[Word]) -> Iterator[Part]:
        fixed = self._lexicon.fixed(words)
        part = Part([], "")
        for at, word in enumerate(words):
            if word.key in self._joiners and not word.glued and at not in fixed:
                if part.words:
                    yield part
                part = Part([], word.key)
            else:
                part.words.append(word)
        if part.words:
            yield part

    def _continues(self, part: Part, before: Part) -> bool:
        """Return whether a part belongs to the one before: "the man in hat *and coat*", "a cup, *which is red*"."""
        first = part.words[0].key
        if before.index is None:
            return False
        if first in PARTICIPLES or first in CUTS:
            return True
        if part.separator not in {"and", "or", "&"} or before.opener is None:
            return False
        if before.opener == "between":
            before.opener = "with"  # "between the fork *and the knife*" takes one "and" only
            return True
        if first in DETERMINERS or first in LEADS:
            return False
        return before.opener in OPENERS or self._head(part.words)[1] is None

    def _understand(self, part: Part) -> None:
        """Set the class index of a part, what is dropped of it, and its opener."""
        fixed = self._lexicon.fixed(part.words)
        words, dropped = part.words, part.dropped
        if (whole := self._lexicon.find(words)) is not None:
            part.index = None if whole == REFUSED else whole
            return
        if self._is_foreign(part, words):
            return
        start = _skip_lead(words, fixed)
        end = self._end(words, start, fixed)
        if end < len(words):
            part.opener = words[end].key
            dropped.append((words[end].start, words[-1].end))
        start, end = self._handle_of(words, start, end, fixed, dropped)
        start = self._skip_owners(words, start, end, dropped)
        while start < end and words[start].key in DETERMINERS:
            start += 1
        length, part.index = self._head(words[start:end])
        if length == 0 and self._is_foreign(part, words[start:end]):
            return
        if part.index is not None and end - length > start:
            dropped.append((words[start].start, words[end - length - 1].end))

    def _is_foreign(self, part: Part, words: list[Word]) -> bool:
        found = self._lexicon.find_foreign(words)
        if found is not None:
            part.index, part.warning = found
        return found is not None

    def _end(self, words: list[Word], start: int, fixed: Collection[int]) -> int:
        """Return where the noun phrase ends: before a preposition, a relative clause, a participle after its noun."""
        for at in range(start, len(words)):
            word, followed = words[at], at + 1 < len(words)
            if at in fixed or word.glued or (followed and words[at + 1].glued and word.key != "mid"):
                continue
            following = words[at + 1].key if followed else ""
            if word.key in CUTS or (word.key in {"next", "close", "adjacent"} and following in {"to", "by"}):
                return at
            before = words[max(start, at - LONGEST_PHRASE) : at]
            if before and word.key in PARTICIPLES and self._head(before)[1] is not None:
                return at
        return len(words)

    def _handle_of(
        self, words: list[Word], start: int, end: int, fixed: Collection[int], dropped: list[_Span]
    ) -> tuple[int, int]:
        """Move the start behind "a slice of", or the end before another "of"."""
        for at in range(start + 1, end):
            if words[at].key != "of" or at in fixed:
                continue
            if not _is_measure(words[at - 1].key):
                dropped.append((words[at].start, words[end - 1].end))
                # "glass of" and "bed of" are phrases themselves: a cup, and no bed.
                return start, at + (self._lexicon.find(words[at - 1 : at + 1]) is not None)
            while words[start].key in DETERMINERS:
                start += 1
            dropped.append((words[start].start, words[at].end))
            start = at + 1
        return start, end

    def _skip_owners(self, words: list[Word], start: int, end: int, dropped: list[_Span]) -> int:
        """Return the start behind owners: "the dog's bowl" is a bowl, but "adam's apple" is a phrase itself."""
        for at in range(end - 2, start - 1, -1):
            if words[at].possessive and self._lexicon.find(words[at:end]) is None:
                dropped.append((words[start].start, words[at].end))
                return at + 1
        return start

    def _head(self, words: list[Word]) -> tuple[int, int | None]:
        """Return how many words the longest known suffix has, and its class index (None: refused or not known)."""
        for length in range(min(len(words), LONGEST_PHRASE), 0, -1):
            found = self._lexicon.find(words[-length:])
            if found is not None:
                is_known = found != REFUSED and self._lexicon.may_precede(words[:-length], found)
                return length, found if is_known else None
        return 0, None


def _skip_lead(words: list[Word], fixed: Collection[int]) -> int:
    """Return the start behind what comes before the noun phrase: "please mask all of the"."""
    start, led = 0, False
    while start < len(words) and start not in fixed:
        key = words[start].key
        if key in LEADS:
            led = True
        elif key not in DETERMINERS and not (led and key in FOLLOW):
            break
        start += 1
    return start


def _are_adjectives(words: list[Word], after: list[Word]) -> bool:
    """Return whether words are attributes of what follows: "red and white umbrella", not "an orange and an apple"."""
    keys = [word.key for word in words if word.key not in DETERMINERS | LEADS]
    if keys == ["orange"]:
        return len(after) > 1 and after[0].key in COLOURS
    return bool(keys) and all(key in ADJECTIVES for key in keys)


def _is_measure(key: str) -> bool:
    return any(form in MEASURES for form in (key, *singulars(key, {})))
