"""WordNet's nouns: the files `index.noun` and `data.noun`.

WordNet 3.1 is Princeton's; its manual page ``wndb(5WN)`` describes the file format.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["HUMAN", "VISIBLE", "Hypernyms", "Noun", "Synset", "plain", "read_nouns", "read_synsets", "sense_of"]

# Lexicographer files of visible things other than people: animal, artifact, body part, food, place, natural object,
# plant, substance.
VISIBLE: Final = frozenset({"05", "06", "08", "13", "15", "17", "20", "27"})
HUMAN: Final = frozenset({"14", "18"})
"""Lexicographer files of groups and people; also names and nations, which belong to no class."""
_INSULTS: Final = ("offensive", "disparag", "derogat", "slur", "pejorative", "obscene", "abuse for", "taboo")


@dataclass(frozen=True, slots=True)
class Noun:
    """Senses of one lemma, most frequent first; the first `tagged` occur in WordNet's sense-tagged texts."""

    senses: tuple[str, ...]
    tagged: int

    @property
    def frequent(self) -> tuple[str, ...]:
        """The senses that occur in the tagged texts; all of them if none does."""
        return self.senses[: self.tagged] or self.senses


@dataclass(frozen=True, slots=True)
class Synset:
    """A set of synonyms: its lexicographer file, its words as written, its hypernyms, whether it is an insult."""

    kind: str
    words: tuple[str, ...]
    parents: tuple[str, ...]
    insult: bool


def plain(phrase: str) -> str:
    """Normalise a phrase as the runtime does: spaces only, no possessive endings."""
    plain = phrase.replace("_", " ").replace("-", " ").replace(".", "")
    return plain.replace("'s ", " ").replace("s' ", "s ")


def read_nouns(path: Path) -> dict[str, Noun]:
    """Read `index.noun`: the nouns by lemma."""
    found: dict[str, Noun] = {}
    for fields, _ in _rows(path):
        pointers = int(fields[3])
        senses, tagged = int(fields[4 + pointers]), int(fields[5 + pointers])
        lemma = plain(fields[0])
        found.setdefault(lemma, Noun(tuple(fields[-senses:]), tagged))
    return found


def read_synsets(path: Path) -> dict[str, Synset]:
    """Read `data.noun`: the synsets by offset."""
    found: dict[str, Synset] = {}
    for fields, gloss in _rows(path):
        count = int(fields[3], 16)
        words = tuple(word.replace("-", "_") for word in fields[4 : 4 + 2 * count : 2])
        pointers = fields[5 + 2 * count :]
        parents = tuple(pointers[at + 1] for at, symbol in enumerate(pointers) if symbol == "@")
        found[fields[0]] = Synset(fields[1], words, parents, any(word in gloss for word in _INSULTS))
    return found


def _rows(path: Path) -> Iterator[tuple[list[str], str]]:
    """Yield fields and gloss of each line of a WordNet file; skip its licence, which is indented."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("  "):
            fields, _, gloss = line.partition(" | ")
            yield fields.split(), gloss


class Hypernyms:
    """What is above each synset. It takes a second to find, and is the same for every label set.

    Parameters
    ----------
    synsets
        WordNet.

    Attributes
    ----------
    above
        For each synset itself and its hypernyms, the nearest first, each with its distance.
    below
        Number of synsets that have a synset among these.
    """

    def __init__(self, synsets: Mapping[str, Synset]) -> None:
        self.above = {offset: _ancestors(offset, synsets) for offset in synsets}
        self.below = Counter(up for ups in self.above.values() for up in ups)


def _ancestors(offset: str, synsets: Mapping[str, Synset]) -> dict[str, int]:
    found, level, distance = {offset: 0}, [offset], 0
    while level:
        distance += 1
        level = list(dict.fromkeys(up for step in level for up in synsets[step].parents if up not in found))
        found |= dict.fromkeys(level, distance)
    return found


def sense_of(root: str, nouns: Mapping[str, Noun]) -> str:
    """Return the synset of ``lemma.sense``, the first sense being 1."""
    lemma, number = root.rsplit(".", 1)
    return nouns[plain(lemma)].senses[int(number) - 1]
