"""The vocabulary of the default bundle, from WordNet and hand-written aliases.

WordNet's graph is searched here, so that the runtime needs a dictionary only. WordNet 3.1 is Princeton's; its manual
page ``wndb(5WN)`` describes the file format.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from automask.words.phrases import singulars

from .languages import read_languages
from .suggestions import near_misses, similar
from .unions import Union, read_unions
from .wordnet import HUMAN, VISIBLE, Noun, Synset, ancestors, plain, read_nouns, read_synsets

__all__ = ["build"]

_LONGEST_PHRASE: Final = 4


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
        singular by irregular plural. ``unions``: names of several classes. ``languages``: words of other languages.
        ``similar``, ``real``: what unknown words are nearest to, and what they are no misspelling of.
    """
    table = tomllib.loads(Path(__file__).with_name("aliases.toml").read_text(encoding="utf-8"))
    refused, plurals = set(map(plain, table.pop("refuse"))), table.pop("plurals")
    nouns, synsets = read_nouns(wordnet / "index.noun"), read_synsets(wordnet / "data.noun")
    classes = [_class(entry, nouns) for entry in table.values()]
    labels, roots = list(table), [entry.roots for entry in classes]
    aliases = {plain(alias): index for index, entry in enumerate(classes) for alias in (labels[index], *entry.aliases)}
    unions = read_unions(labels, roots, nouns, synsets)
    joined = {word: union for union in unions for word in union.words if word not in aliases}
    classifier = _Classifier(nouns, synsets, classes)
    words = {lemma: index for lemma in nouns if (index := classifier.classify(lemma)) is not None}
    words = {lemma: index for lemma, index in words.items() if lemma not in aliases.keys() | joined.keys() | refused}
    known = aliases.keys() | joined.keys() | words.keys()
    refused |= _look_alikes(nouns, aliases, words, plurals, classifier) - joined.keys()
    refused |= {lemma for lemma in nouns if lemma not in known and _is_other_union(lemma, joined, classifier)}
    worth = [phrase for phrase in (*joined, *aliases) if not phrase.endswith(" of")]
    return {
        "labels": labels,
        "aliases": aliases,
        "words": [sorted(lemma for lemma, at in words.items() if at == index) for index in range(len(labels))],
        "refused": sorted(refused),
        "plurals": plurals,
        "unions": [union.described() for union in unions],
        "languages": read_languages([*labels, *(f"{{{union.name}}}" for union in unions)], known, nouns, synsets),
        "similar": similar(known, roots, nouns, synsets),
        "real": near_misses(worth, known, nouns),
    }


class _Classifier:
    """Assigns lemmas to classes."""

    def __init__(self, nouns: dict[str, Noun], synsets: dict[str, Synset], classes: list[_Class]) -> None:
        self._nouns, self._synsets, self._classes = nouns, synsets, classes
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
        return self._synsets[self._nouns[lemma].senses[0]].kind in VISIBLE

    def is_above(self, lemma: str, index: int) -> bool:
        """Whether a class is among what the first sense of a lemma means: a dog is a domestic animal."""
        first = self._nouns[lemma].senses[0]
        return any(first in ancestors(root, self._synsets) for root in self._classes[index].roots)

    def may_be(self, lemma: str, index: int) -> bool:
        """Whether the first sense of a phrase belongs to a class; for class 0, also whether it means people at all."""
        first = self._nouns[lemma].senses[0]
        human = index == 0 and self._synsets[first].kind in HUMAN
        return human or self._class_of(first) == index

    def _is_person(self, lemma: str, noun: Noun) -> bool:
        """Whether a lemma below "person" means only people: "spinster" does, "printer" does not."""
        written = {word for sense in noun.senses for word in self._synsets[sense].words}
        common = any(plain(word) == lemma for word in written)
        if not common and not lemma.endswith(("man", "woman")):
            return False  # capitalised: a proper name or a nation ("Swede", "Pole"), but "Englishman" is unambiguous
        if any(self._synsets[sense].insult for sense in noun.senses):
            return False  # the published vocabulary must not contain them
        return all(self._synsets[sense].kind not in VISIBLE for sense in noun.senses)

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


def _is_other_union(lemma: str, joined: Mapping[str, Union], classifier: _Classifier) -> bool:
    """Return whether a phrase ends in the name of a union and has none of its classes below it: "passion fruit"."""
    parts = lemma.split(" ")
    tails = [" ".join(parts[place:]) for place in range(1, len(parts))]
    union = next((joined[tail] for tail in tails if tail in joined), None)
    return union is not None and not any(classifier.is_above(lemma, index) for index in union.members)


def _look_alikes(
    nouns: dict[str, Noun],
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


def _class(entry: dict[str, list[str]], nouns: dict[str, Noun]) -> _Class:
    def offsets(names: list[str]) -> frozenset[str]:
        pairs = (name.rsplit(".", 1) for name in names)
        return frozenset(nouns[plain(lemma)].senses[int(sense) - 1] for lemma, sense in pairs)

    return _Class(offsets(entry["synsets"]), offsets(entry.get("without", [])), tuple(entry["aliases"]))
