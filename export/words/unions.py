"""Unions of kinds: "animal", "fruit", "everything"; from `unions.toml` and WordNet."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .sets import LabelSet
from .wordnet import Hypernyms, Noun, plain, sense_of

__all__ = ["Union", "read_unions", "shipped_unions"]

_LISTS: Final = ("roots", "with", "without", "aliases")


@dataclass(frozen=True, slots=True)
class Union:
    """One union of kinds.

    Attributes
    ----------
    name
        Its name.
    words
        Phrases that mean it, its name first.
    members
        Indices of its kinds.
    invert
        The mask is everything but these kinds.
    pick
        ``subject``: only the largest and most central object; empty: all.
    """

    name: str
    words: tuple[str, ...]
    members: tuple[int, ...]
    invert: bool
    pick: str

    def described(self) -> dict[str, Any]:
        """Return the union as the vocabulary of a bundle has it."""
        rules: dict[str, Any] = {"invert": self.invert, "pick": self.pick}
        rules = {name: rule for name, rule in rules.items() if rule}
        return {"name": self.name, "words": list(self.words), "members": list(self.members), **rules}


def read_unions(
    label_set: LabelSet, roots: Sequence[frozenset[str]], nouns: Mapping[str, Noun], hypernyms: Hypernyms
) -> list[Union]:
    """Return the unions that have a label of a model.

    Parameters
    ----------
    label_set
        What the labels mean.
    roots
        WordNet roots of each label.
    nouns, hypernyms
        WordNet.
    """
    above = [frozenset(up for root in kind for up in hypernyms.above[root]) for kind in roots]

    def is_below(tops: Sequence[str], index: int) -> bool:
        return any(sense_of(root, nouns) in above[index] for root in tops)

    return _unions(label_set, lambda _, entry, index: is_below(entry.get("roots", ()), index))


def shipped_unions(label_set: LabelSet, members: Mapping[str, Collection[str]]) -> list[Union]:
    """Return the unions without WordNet.

    Parameters
    ----------
    members
        Labels of COCO by union.
    """
    return _unions(label_set, lambda name, _, index: label_set.entries[index].kind in members.get(name, ()))


def _unions(label_set: LabelSet, is_below: Callable[[str, Mapping[str, Any], int], bool]) -> list[Union]:
    table = tomllib.loads(Path(__file__).with_name("unions.toml").read_text(encoding="utf-8"))
    for name, own in label_set.unions.items():
        common = table.get(name, {})
        lists = {field: [*common.get(field, ()), *own.get(field, ())] for field in _LISTS}
        table[name] = {**common, **own, **lists}
    unions = [_union(name, entry, label_set, is_below) for name, entry in table.items()]
    return [union for union in unions if union.members]


def _union(
    name: str, entry: Mapping[str, Any], label_set: LabelSet, is_below: Callable[[str, Mapping[str, Any], int], bool]
) -> Union:
    added, removed = set(entry.get("with", ())), set(entry.get("without", ()))
    members = [
        index
        for index, label in enumerate(label_set.entries)
        if (entry.get("all") and label.names and label.is_thing)
        or added & {label.known, label.kind}
        or (is_below(name, entry, index) and not removed & {label.known, label.kind})
    ]
    words = tuple(dict.fromkeys(map(plain, (name, *entry["aliases"]))))
    return Union(name, words, tuple(members), entry.get("invert", False), entry.get("pick", ""))
