"""The vocabulary of a label set, from its table and WordNet; or without WordNet, from the words of the built-in bundle.

WordNet's graph is searched here, so that the runtime needs a dictionary only. WordNet 3.1 is Princeton's; its manual
page ``wndb(5WN)`` describes the file format.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from automask.lookup import locate_bundle
from automask.words.phrases import singulars

from .classify import Classifier, tails
from .languages import read_languages
from .senses import place
from .sets import Entry, LabelSet
from .suggestions import near_misses, similar
from .unions import Union, read_unions, shipped_unions
from .wordnet import Hypernyms, Noun, Synset, plain, read_nouns, read_synsets, sense_of

__all__ = ["build_with_wordnet", "build_without_wordnet", "unplaced"]

_SHIPPED: Final = "default"  # bundle


def build_with_wordnet(label_set: LabelSet, wordnet: Path) -> dict[str, Any]:
    """Build the vocabulary.

    Parameters
    ----------
    wordnet
        Folder of `index.noun` and `data.noun`.

    Returns
    -------
    dict[str, Any]
        ``labels``: in the model's order. ``aliases``: label index by phrase. ``words``: for each label the phrases from
        WordNet. ``refused``: phrases that end in a known one but mean something else. ``plurals``: singular by
        irregular plural. ``unions``: names of several labels. ``languages``: words of other languages. ``similar``,
        ``real``: what unknown words are nearest to, and what they are no misspelling of.
    """
    nouns, synsets, hypernyms = _read_wordnet(wordnet)
    plurals, entries = label_set.plurals, label_set.entries
    roots = [
        place(entry.names, nouns, synsets, plurals)
        if entry.roots is None
        else frozenset(sense_of(root, nouns) for root in entry.roots)
        for entry in entries
    ]
    unions = read_unions(label_set, roots, nouns, hypernyms)
    aliases, joined = _aliases(label_set, unions)
    stops = frozenset(sense_of(root, nouns) for entry in entries for root in entry.without)
    classifier = Classifier(nouns, synsets, hypernyms, roots, stops)
    classes = {lemma: index for lemma in nouns if (index := classifier.classify(lemma)) is not None}
    known = {**classes, **dict.fromkeys(joined, -1), **aliases}
    refused = set(map(plain, label_set.refuse))
    refused |= {
        phrase
        for phrase in _borrowed_refused(
            label_set.borrowed_refuse, entries, {**known, **aliases}, {*aliases, *joined}, plurals
        )
        # What COCO's labels leave doubtful, another label may be: "statue".
        if " " in phrase or phrase not in classes or entries[classes[phrase]].kind
    }
    other = aliases.keys() | joined.keys() | refused
    words = {lemma: index for lemma, index in classes.items() if lemma not in other}
    understood = aliases.keys() | joined.keys() | words.keys()
    refused |= classifier.look_alikes(aliases, words, plurals) - joined.keys()
    refused |= {lemma for lemma in nouns if lemma not in understood and classifier.is_other_union(lemma, joined)}
    names = [*(entry.kind for entry in entries), *(f"{{{union.name}}}" for union in unions)]
    return {
        "labels": [entry.label for entry in entries],
        "aliases": aliases,
        "words": _grouped(words, len(entries)),
        "refused": sorted(refused),
        "plurals": dict(plurals),
        "unions": [union.described() for union in unions],
        "languages": read_languages(names, understood, nouns, synsets),
        "similar": similar(understood, roots, nouns, synsets, hypernyms),
        "real": near_misses(_worth(joined, aliases), understood, nouns),
    }


@lru_cache(maxsize=1)
def _read_wordnet(folder: Path) -> tuple[dict[str, Noun], dict[str, Synset], Hypernyms]:
    synsets = read_synsets(folder / "data.noun")
    return read_nouns(folder / "index.noun"), synsets, Hypernyms(synsets)


def build_without_wordnet(label_set: LabelSet) -> dict[str, Any]:
    """Build the vocabulary with the words that the built-in bundle has for the labels of COCO; see the other one."""
    shipped = json.loads((locate_bundle(_SHIPPED) / "vocabulary.json").read_bytes())
    entries, plurals = label_set.entries, label_set.plurals
    at = {entry.kind: index for index, entry in enumerate(entries) if entry.kind}
    moved = {old: at[label] for old, label in enumerate(shipped["labels"]) if label in at}
    members = {union["name"]: {shipped["labels"][index] for index in union["members"]} for union in shipped["unions"]}
    unions = shipped_unions(label_set, members)
    aliases, joined = _aliases(label_set, unions)
    words: list[list[str]] = [[] for _ in entries]
    for old, index in moved.items():
        words[index] = [word for word in shipped["words"][old] if word not in aliases and word not in joined]
        words[index] = [word for word in words[index] if not _has_other_end(word, aliases, entries)]
    known = {**{word: index for index, group in enumerate(words) for word in group}, **aliases}
    known |= dict.fromkeys(joined, -1)
    refused = set(map(plain, label_set.refuse))
    if all(entry.kind for entry in entries):
        refused |= set(shipped["refused"]) - known.keys()
    elif moved:
        refused |= _borrowed_refused(shipped["refused"], entries, known, known, plurals)
    old_names = [*shipped["labels"], *(f"{{{union['name']}}}" for union in shipped["unions"])]
    names = [*(entry.kind for entry in entries), *(f"{{{union.name}}}" for union in unions)]
    return {
        "labels": [entry.label for entry in entries],
        "aliases": aliases,
        "words": words,
        "refused": sorted(refused),
        "plurals": dict(plurals),
        "unions": [union.described() for union in unions],
        "languages": [_moved_language(table, old_names, names) for table in shipped["languages"]] if moved else [],
        "similar": [
            ([moved[old] for old in indices if old in moved], ",".join(w for w in lemmas.split(",") if w not in known))
            for indices, lemmas in shipped["similar"]
            if any(old in moved for old in indices)
        ],
        "real": ",".join(word for word in shipped["real"].split(",") if word not in known),
    }


def unplaced(label_set: LabelSet) -> list[str]:
    """Return the labels that no word means."""
    return [entry.label for entry in label_set.entries if not entry.names]


def _aliases(label_set: LabelSet, unions: Sequence[Union]) -> tuple[dict[str, int], dict[str, Union]]:
    """Return the index of a label by phrase, and the union by phrase."""
    owners: dict[str, int] = {}
    labels = {plain(entry.label.casefold()) for entry in label_set.entries}
    own = {word for union in unions if union.name in label_set.unions for word in union.words} - labels
    groups = [
        [[plain(phrase) for phrase in group] for group in (entry.names, entry.aliases, entry.borrowed)]
        for entry in label_set.entries
    ]
    for rank in range(3):
        for index, group in enumerate(groups):
            for phrase in group[rank]:
                if phrase not in own and (rank < 2 or not _has_other_end(phrase, owners, label_set.entries, own)):
                    owners.setdefault(phrase, index)
    aliases = {
        phrase: index
        for index, group in enumerate(groups)
        for phrases in group
        for phrase in phrases
        if owners.get(phrase) == index
    }
    return aliases, {word: union for union in unions for word in union.words if word not in aliases}


def _has_other_end(
    phrase: str, owners: Mapping[str, int], entries: Sequence[Entry], unions: Collection[str] = ()
) -> bool:
    """Return whether a phrase of COCO ends in a name that COCO does not have: "bar stool", where there is a stool."""
    for tail in tails(phrase):
        if tail in owners or tail in unions:
            return tail in unions or not entries[owners[tail]].kind
    return False


def _borrowed_refused(
    phrases: Collection[str],
    entries: Sequence[Entry],
    known: Mapping[str, int],
    kept: Collection[str],
    plurals: Mapping[str, str],
) -> set[str]:
    """Return the refused phrases of COCO that must be refused here, too.

    "clock tower" is refused because of "clock"; where there is a label "tower", it is one.
    """
    found, doubtful = set[str](), frozenset(map(plain, phrases))
    for phrase in doubtful:
        # Not because of "glass" alone: COCO has it, too, and "glasses" are another thing.
        if phrase in kept or any(form in kept for form in singulars(phrase, plurals) if form in doubtful):
            continue
        end = next(
            (known[form] for tail in tails(phrase) for form in (tail, *singulars(tail, plurals)) if form in known), None
        )
        if " " not in phrase or (end is not None and (end < 0 or entries[end].kind)):
            found.add(phrase)
    return found


def _grouped(words: Mapping[str, int], count: int) -> list[list[str]]:
    """Return the words of each label."""
    groups: list[list[str]] = [[] for _ in range(count)]
    for word in sorted(words):
        groups[words[word]].append(word)
    return groups


def _worth(joined: Collection[str], aliases: Collection[str]) -> list[str]:
    """Return the phrases that are worth suggesting."""
    return [phrase for phrase in (*joined, *aliases) if not phrase.endswith(" of")]


def _moved_language(table: Mapping[str, Any], old: Sequence[str], new: Sequence[str]) -> dict[str, Any]:
    words = dict(zip(old, table["words"], strict=True))
    return {**table, "words": [words.get(name, "") if name else "" for name in new]}
