"""WordNet and the hand-written aliases → the table of words that the runtime looks prompts up in.

All the walking happens here, so that the runtime needs a dictionary and no WordNet. WordNet 3.1 is Princeton's; its
file format is described in the manual page ``wndb(5WN)``.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from automask.words.phrases import singulars

__all__ = ["build"]

# Kinds of thing (WordNet's lexicographer files) that a camera sees and that are no person: animal, artifact, body part,
# food, place, natural object, plant, substance.
_VISIBLE: Final = frozenset({"05", "06", "08", "13", "15", "17", "20", "27"})
_HUMAN: Final = frozenset({"14", "18"})  # groups, people: names and nations too, which are below no class
_LONGEST_PHRASE: Final = 4
_INSULTS: Final = ("offensive", "disparag", "derogat", "slur", "pejorative", "obscene", "abuse for", "taboo")


@dataclass(frozen=True, slots=True)
class _Noun:
    """Senses of one lemma, most frequent first; `tagged` of them occur in WordNet's sense-tagged texts."""

    senses: tuple[str, ...]
    tagged: int

    @property
    def frequent(self) -> tuple[str, ...]:
        return self.senses[: self.tagged] or self.senses


@dataclass(frozen=True, slots=True)
class _Synset:
    kind: str
    words: tuple[str, ...]  # as written, with capitals
    parents: tuple[str, ...]
    insult: bool


@dataclass(frozen=True, slots=True)
class _Class:
    roots: frozenset[str]
    without: frozenset[str]
    aliases: tuple[str, ...]


def build(wordnet: Path) -> dict[str, object]:
    """Make the table of words.

    Parameters
    ----------
    wordnet
        Folder that holds `index.noun` and `data.noun`.

    Returns
    -------
    dict[str, object]
        ``labels``: the classes, in the detector's order. ``aliases``: phrase → class index. ``words``: for each class
        the phrases that WordNet adds. ``refused``: phrases that end like a known one and mean something else.
        ``plurals``: irregular plural → singular.
    """
    table = tomllib.loads(Path(__file__).with_name("aliases.toml").read_text(encoding="utf-8"))
    refused, plurals = set(map(_plain, table.pop("refuse"))), table.pop("plurals")
    nouns, synsets = _nouns(wordnet / "index.noun"), _synsets(wordnet / "data.noun")
    classes = [_class(entry, nouns) for entry in table.values()]
    labels = list(table)
    aliases = {_plain(alias): index for index, entry in enumerate(classes) for alias in (labels[index], *entry.aliases)}
    walk = _Walk(nouns, synsets, classes)
    words = {lemma: index for lemma in nouns if (index := walk.decide(lemma)) is not None}
    words = {lemma: index for lemma, index in words.items() if lemma not in aliases and lemma not in refused}
    return {
        "labels": labels,
        "aliases": aliases,
        "words": [sorted(lemma for lemma, at in words.items() if at == index) for index in range(len(labels))],
        "refused": sorted(refused | _look_alikes(nouns, aliases, words, plurals, walk)),
        "plurals": plurals,
    }


class _Walk:
    """Decides which class a lemma belongs to, if to any."""

    def __init__(self, nouns: dict[str, _Noun], synsets: dict[str, _Synset], classes: list[_Class]) -> None:
        self._nouns, self._synsets = nouns, synsets
        self._roots = {root: index for index, entry in enumerate(classes) for root in entry.roots}
        self._stops = frozenset().union(*(entry.without for entry in classes))
        self._seen: dict[str, int | None] = {}

    def decide(self, lemma: str) -> int | None:
        """Give the class of a lemma, when its first sense and most of its frequent ones agree."""
        noun = self._nouns[lemma]
        first = self._class_of(noun.senses[0])
        if first is None or len(lemma) < 3 or lemma.count(" ") >= _LONGEST_PHRASE:
            return None
        votes = Counter(self._class_of(sense) for sense in noun.frequent)
        if 2 * votes[first] < len(noun.frequent):
            return None
        return first if first != 0 or self._is_person(lemma, noun) else None

    def is_visible(self, lemma: str) -> bool:
        """Tell whether the usual meaning is something else that a camera sees."""
        return self._synsets[self._nouns[lemma].senses[0]].kind in _VISIBLE

    def may_be(self, lemma: str, index: int) -> bool:
        """Tell whether a phrase's usual meaning is of a class after all, or of people of whatever kind."""
        first = self._nouns[lemma].senses[0]
        human = index == 0 and self._synsets[first].kind in _HUMAN
        return human or self._class_of(first) == index

    def _is_person(self, lemma: str, noun: _Noun) -> bool:
        """Tell "spinster" from "printer": nothing else that a camera sees goes by that name."""
        written = {word for sense in noun.senses for word in self._synsets[sense].words}
        common = any(_plain(word) == lemma for word in written)
        if not common and not lemma.endswith(("man", "woman")):
            return False  # capitals: a proper name, or a nation's ("Swede", "Pole"), but "Englishman" is clear
        if any(self._synsets[sense].insult for sense in noun.senses):
            return False  # what is shipped should not hold them
        return all(self._synsets[sense].kind not in _VISIBLE for sense in noun.senses)

    def _class_of(self, sense: str) -> int | None:
        """Find the nearest class above a sense, breadth first."""
        if sense in self._seen:
            return self._seen[sense]
        level, found = [sense], None
        while level and found is None:
            if any(step in self._stops for step in level):
                break
            found = next((self._roots[step] for step in level if step in self._roots), None)
            level = list(dict.fromkeys(up for step in level for up in self._synsets[step].parents))
        self._seen[sense] = found
        return found


def _look_alikes(
    nouns: dict[str, _Noun], aliases: dict[str, int], words: dict[str, int], plurals: dict[str, str], walk: _Walk
) -> set[str]:
    """Find WordNet's own phrases that end in a known word and are not known, and plurals with a meaning of their own.

    "gravy boat" is no boat, and WordNet says so by not having it below one.
    """
    known, found = words | aliases, set[str]()
    for lemma in nouns.keys() - known.keys():
        parts = lemma.split(" ")
        tails = [" ".join(parts[place:]) for place in range(1, len(parts))]
        ends = next((known[tail] for tail in tails if tail in known), None)
        if ends is not None:
            other = len(parts) <= _LONGEST_PHRASE and not walk.may_be(lemma, ends)
        else:
            other = walk.is_visible(lemma) and any(form in words for form in singulars(lemma, plurals))
        if other:
            found.add(lemma)
    return found


def _class(entry: dict[str, list[str]], nouns: dict[str, _Noun]) -> _Class:
    def offsets(names: list[str]) -> frozenset[str]:
        pairs = (name.rsplit(".", 1) for name in names)
        return frozenset(nouns[_plain(lemma)].senses[int(sense) - 1] for lemma, sense in pairs)

    return _Class(offsets(entry["synsets"]), offsets(entry.get("without", [])), tuple(entry["aliases"]))


def _plain(phrase: str) -> str:
    """Write a phrase as the runtime's words are: spaces alone, no possessive endings."""
    plain = phrase.replace("_", " ").replace("-", " ").replace(".", "")
    return plain.replace("'s ", " ").replace("s' ", "s ")


def _nouns(path: Path) -> dict[str, _Noun]:
    found: dict[str, _Noun] = {}
    for fields, _ in _rows(path):
        pointers = int(fields[3])
        senses, tagged = int(fields[4 + pointers]), int(fields[5 + pointers])
        lemma = _plain(fields[0])
        found.setdefault(lemma, _Noun(tuple(fields[-senses:]), tagged))
    return found


def _synsets(path: Path) -> dict[str, _Synset]:
    found: dict[str, _Synset] = {}
    for fields, gloss in _rows(path):
        count = int(fields[3], 16)
        words = tuple(word.replace("-", "_") for word in fields[4 : 4 + 2 * count : 2])
        pointers = fields[5 + 2 * count :]
        parents = tuple(pointers[at + 1] for at, symbol in enumerate(pointers) if symbol == "@")
        found[fields[0]] = _Synset(fields[1], words, parents, any(word in gloss for word in _INSULTS))
    return found


def _rows(path: Path) -> Iterator[tuple[list[str], str]]:
    """Split the lines of a WordNet file into fields and gloss; its licence, indented, is left out."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("  "):
            fields, _, gloss = line.partition(" | ")
            yield fields.split(), gloss
