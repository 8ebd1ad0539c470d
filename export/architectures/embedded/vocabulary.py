"""The vocabulary of the default bundle, from WordNet and hand-written aliases.

WordNet's graph is searched here, so that the runtime needs a dictionary only. WordNet 3.1 is Princeton's; its manual
page ``wndb(5WN)`` describes the file format.
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

# WordNet's lexicographer files of visible things other than people: animal, artifact, body part, food, place, natural
# object, plant, substance.
_VISIBLE: Final = frozenset({"05", "06", "08", "13", "15", "17", "20", "27"})
_HUMAN: Final = frozenset({"14", "18"})  # groups and people; also names and nations, which belong to no class
_LONGEST_PHRASE: Final = 4
_INSULTS: Final = ("offensive", "disparag", "derogat", "slur", "pejorative", "obscene", "abuse for", "taboo")


@dataclass(frozen=True, slots=True)
class _Noun:
    """Senses of one lemma, most frequent first; the first `tagged` occur in WordNet's sense-tagged texts."""

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
    """Build the vocabulary.

    Parameters
    ----------
    wordnet
        Folder of `index.noun` and `data.noun`.

    Returns
    -------
    dict[str, object]
        ``labels``: the classes, in the detector's order. ``aliases``: class index by phrase. ``words``: for each class
        the phrases from WordNet. ``refused``: phrases that end in a known one but mean something else. ``plurals``:
        singular by irregular plural.
    """
    table = tomllib.loads(Path(__file__).with_name("aliases.toml").read_text(encoding="utf-8"))
    refused, plurals = set(map(_plain, table.pop("refuse"))), table.pop("plurals")
    nouns, synsets = _nouns(wordnet / "index.noun"), _synsets(wordnet / "data.noun")
    classes = [_class(entry, nouns) for entry in table.values()]
    labels = list(table)
    aliases = {_plain(alias): index for index, entry in enumerate(classes) for alias in (labels[index], *entry.aliases)}
    classifier = _Classifier(nouns, synsets, classes)
    words = {lemma: index for lemma in nouns if (index := classifier.classify(lemma)) is not None}
    words = {lemma: index for lemma, index in words.items() if lemma not in aliases and lemma not in refused}
    return {
        "labels": labels,
        "aliases": aliases,
        "words": [sorted(lemma for lemma, at in words.items() if at == index) for index in range(len(labels))],
        "refused": sorted(refused | _look_alikes(nouns, aliases, words, plurals, classifier)),
        "plurals": plurals,
    }


class _Classifier:
    """Assigns lemmas to classes."""

    def __init__(self, nouns: dict[str, _Noun], synsets: dict[str, _Synset], classes: list[_Class]) -> None:
        self._nouns, self._synsets = nouns, synsets
        self._roots = {root: index for index, entry in enumerate(classes) for root in entry.roots}
        self._stops = frozenset().union(*(entry.without for entry in classes))
        self._seen: dict[str, int | None] = {}

    def classify(self, lemma: str) -> int | None:
        """Return the class of a lemma if its first sense and most of its frequent ones agree, else None."""
        noun = self._nouns[lemma]
        first = self._class_of(noun.senses[0])
        if first is None or len(lemma) < 3 or lemma.count(" ") >= _LONGEST_PHRASE:
            return None
        votes = Counter(self._class_of(sense) for sense in noun.frequent)
        if 2 * votes[first] < len(noun.frequent):
            return None
        return first if first != 0 or self._is_person(lemma, noun) else None

    def is_visible(self, lemma: str) -> bool:
        """Whether the first sense of a lemma is a visible thing other than a person."""
        return self._synsets[self._nouns[lemma].senses[0]].kind in _VISIBLE

    def may_be(self, lemma: str, index: int) -> bool:
        """Whether the first sense of a phrase belongs to a class; for class 0, also whether it means people at all."""
        first = self._nouns[lemma].senses[0]
        human = index == 0 and self._synsets[first].kind in _HUMAN
        return human or self._class_of(first) == index

    def _is_person(self, lemma: str, noun: _Noun) -> bool:
        """Whether a lemma below "person" means only people: "spinster" does, "printer" does not."""
        written = {word for sense in noun.senses for word in self._synsets[sense].words}
        common = any(_plain(word) == lemma for word in written)
        if not common and not lemma.endswith(("man", "woman")):
            return False  # capitalised: a proper name or a nation ("Swede", "Pole"), but "Englishman" is unambiguous
        if any(self._synsets[sense].insult for sense in noun.senses):
            return False  # the published vocabulary must not contain them
        return all(self._synsets[sense].kind not in _VISIBLE for sense in noun.senses)

    def _class_of(self, sense: str) -> int | None:
        """Return the nearest class above a sense, breadth first; None if there is none."""
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
    nouns: dict[str, _Noun],
    aliases: dict[str, int],
    words: dict[str, int],
    plurals: dict[str, str],
    classifier: _Classifier,
) -> set[str]:
    """Return WordNet's phrases that end in a known word but mean something else, and plurals with another meaning.

    "gravy boat" is no boat: WordNet does not have it below "boat".
    """
    known, found = words | aliases, set[str]()
    for lemma in nouns.keys() - known.keys():
        parts = lemma.split(" ")
        tails = [" ".join(parts[place:]) for place in range(1, len(parts))]
        ends = next((known[tail] for tail in tails if tail in known), None)
        if ends is not None:
            other = len(parts) <= _LONGEST_PHRASE and not classifier.may_be(lemma, ends)
        else:
            other = classifier.is_visible(lemma) and any(form in words for form in singulars(lemma, plurals))
        if other:
            found.add(lemma)
    return found


def _class(entry: dict[str, list[str]], nouns: dict[str, _Noun]) -> _Class:
    def offsets(names: list[str]) -> frozenset[str]:
        pairs = (name.rsplit(".", 1) for name in names)
        return frozenset(nouns[_plain(lemma)].senses[int(sense) - 1] for lemma, sense in pairs)

    return _Class(offsets(entry["synsets"]), offsets(entry.get("without", [])), tuple(entry["aliases"]))


def _plain(phrase: str) -> str:
    """Normalise a phrase as the runtime does: spaces only, no possessive endings."""
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
    """Yield fields and gloss of each line of a WordNet file; skip its licence, which is indented."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("  "):
            fields, _, gloss = line.partition(" | ")
            yield fields.split(), gloss
