"""The commonest nouns of other languages than English, and emoji."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from .grammar import DETERMINERS, LEADS
from .phrases import Word

__all__ = ["Foreign", "Languages", "fold"]

_ENGLISH: Final = DETERMINERS | LEADS
_ACCENTS: Final = re.compile("[\u0300-\u036f\u093c]")  # of Latin letters, and the nukta
_IDEOGRAMS: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]+")
_EMOJI: Final = re.compile("[\u2190-\u2bff\U0001f000-\U0001faff]")
_STYLES: Final = re.compile("[\ufe0f\U0001f3fb-\U0001f3ff]")  # emoji style, and skin tones
# "a red", "two ... of", before a noun that is written without a space: 赤い車, 两只猫, 我的狗.
_MODIFIERS: Final = re.compile(
    r"(.*[的の])?([\u3040-\u30ff\u3400-\u9fff]{1,4}[いな])?"
    r"([这那這一二两兩三四五六七八九十几幾每]{1,2}[个個只隻条條辆輛匹头頭台把张張架艘杯瓶本])?"
)
_LONGEST: Final = 12  # characters of a word without spaces


def fold(word: str) -> str:
    """Return a case-folded word without the accents of Latin letters, and an emoji without its style.

    Examples
    --------
    >>> fold("vélo"), fold("Über".casefold()), fold("パン")
    ('velo', 'uber', 'パン')
    """
    if word.isascii():
        return word
    plain = _ACCENTS.sub("", unicodedata.normalize("NFD", _STYLES.sub("", word)))
    return unicodedata.normalize("NFC", plain)


@dataclass(frozen=True, slots=True)
class Foreign:
    """A word of another language.

    Attributes
    ----------
    index
        What it means.
    language
        Name of the language.
    is_doubtful
        Whether it has another meaning in English or in another one of the languages.
    """

    index: int
    language: str
    is_doubtful: bool = False


class Languages:
    """The words of several languages. Its tables are opened only when a word is no known English.

    Parameters
    ----------
    tables
        As the export writes them: the language that is taken where two share a word comes first.

    Examples
    --------
    >>> spanish = {"name": "Spanish", "articles": ["el"], "words": ["gato,gatos", "perro"]}
    >>> Languages([spanish]).find(("el", "perro"))
    Foreign(index=1, language='Spanish', is_doubtful=False)
    """

    def __init__(self, tables: Sequence[Mapping[str, Any]] = ()) -> None:
        self._tables = tables

    @cached_property
    def joiners(self) -> frozenset[str]:
        """Words for "and" and "or"."""
        return frozenset(joiner for table in self._tables for joiner in table.get("joiners", ()))

    def find(self, keys: Sequence[str]) -> Foreign | None:
        """Return what the words of a noun phrase mean, its article included; None if they are not known."""
        first, *rest = map(fold, keys)
        if "'" in first and not rest:
            first, _, noun = first.partition("'")  # l'avion
            first, rest = f"{first}'", [noun]
        for table in self._tables:
            if (
                rest
                and first in table.get("articles", ())
                and (at := self._after_article(table, first, rest)) is not None
            ):
                return Foreign(at, table["name"])
        phrase = " ".join((first, *rest))
        hits = [(table, at) for table in self._tables if (at := self._words(table).get(phrase)) is not None]
        free = [(table, at) for table, at in hits if phrase not in table.get("bound", ())]
        if not free:
            return None
        table, index = free[0]
        is_doubtful = phrase in table.get("doubtful", ()) or len({at for _, at in hits}) > 1
        return Foreign(index, table["name"], is_doubtful)

    def _after_article(self, table: Mapping[str, Any], article: str, rest: Sequence[str]) -> int | None:
        phrase = " ".join(rest)
        if article in _ENGLISH and phrase in table.get("bound", ()):
            return None  # "a skate" is English, although "a" is an article of Portuguese, too
        return self._words(table).get(phrase)

    def find_script(self, key: str) -> int | None:
        """Return what a word means whose script says that it is not English; None for Latin and unknown words."""
        if key.isascii():
            return None
        plain = fold(key)
        return self._scripts.get(plain, self._scripts.get(plain.partition("\u200d")[0]))  # an astronaut is a person

    def split(self, words: Sequence[Word]) -> Iterator[Word]:
        """Yield the words of a prompt, with those apart that are written without a space."""
        before: Word | None = None
        for word in words:
            if before and _EMOJI.match(before.key) and _EMOJI.match(word.key):
                yield Word("and", word.start, word.start)
            is_joiner = not word.key.isascii() and word.key in self.joiners
            yield from [replace(word, key="and")] if is_joiner else self._split_word(word)
            before = word

    def _split_word(self, word: Word) -> Iterator[Word]:
        if not _IDEOGRAMS.fullmatch(word.key) or word.key in self._scripts:
            yield word
            return
        pieces = [piece for piece in re.split(f"([{self._signs}])", word.key) if piece] if self._signs else []
        if len(pieces) > 2 and all(piece in self._signs or self._ends(piece) for piece in pieces):
            start = word.start
            for piece in pieces:
                part = replace(word, key="and" if piece in self._signs else piece, start=start, end=start + len(piece))
                yield from [part] if piece in self._signs else self._cut(part)
                start = part.end
        else:
            yield from self._cut(word)

    def _cut(self, word: Word) -> Iterator[Word]:
        """Yield what describes a noun, and the noun."""
        length = self._ends(word.key)
        cut = word.end - length
        if 0 < length < len(word.key):
            yield replace(word, key=word.key[:-length], end=cut)
            yield replace(word, key=word.key[-length:], start=cut)
        else:
            yield word

    def _ends(self, text: str) -> int:
        """Return the length of the longest noun at the end of a text that is only described by the rest; 0: none."""
        for length in range(min(_LONGEST, len(text)), 0, -1):
            if text[-length:] in self._scripts and _MODIFIERS.fullmatch(text[:-length]):
                return length
        return 0

    @cached_property
    def _signs(self) -> str:
        return "".join(joiner for joiner in self.joiners if _IDEOGRAMS.fullmatch(joiner))

    @cached_property
    def _scripts(self) -> dict[str, int]:
        """Index by word, of the words in other scripts than Latin."""
        tables = [self._words(table) for table in reversed(self._tables)]
        return {word: index for words in tables for word, index in words.items() if not word.isascii()}

    def _words(self, table: Mapping[str, Any]) -> Mapping[str, int]:
        return self._indices[table["name"]]

    @cached_property
    def _indices(self) -> dict[str, dict[str, int]]:
        return {
            table["name"]: {word: at for at, text in enumerate(table["words"]) if text for word in text.split(",")}
            for table in self._tables
        }
