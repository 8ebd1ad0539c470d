"""Unions of kinds: "animal", "fruit", "everything"; from `unions.toml` and WordNet."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .wordnet import Noun, Synset, ancestors, plain

__all__ = ["Union", "read_unions"]


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
    labels: Sequence[str],
    roots: Sequence[frozenset[str]],
    nouns: Mapping[str, Noun],
    synsets: Mapping[str, Synset],
) -> list[Union]:
    """Read the unions.

    Parameters
    ----------
    labels
        Labels of the kinds.
    roots
        WordNet roots of each kind.
    nouns, synsets
        WordNet.
    """
    above = [frozenset(up for root in kind for up in ancestors(root, synsets)) for kind in roots]
    table = tomllib.loads(Path(__file__).with_name("unions.toml").read_text(encoding="utf-8"))
    return [_union(name, entry, labels, above, nouns) for name, entry in table.items()]


def _union(
    name: str,
    entry: Mapping[str, Any],
    labels: Sequence[str],
    above: Sequence[frozenset[str]],
    nouns: Mapping[str, Noun],
) -> Union:
    senses = (root.rsplit(".", 1) for root in entry.get("roots", ()))
    tops = {nouns[plain(lemma)].senses[int(sense) - 1] for lemma, sense in senses}
    added, removed = entry.get("with", ()), entry.get("without", ())
    members = [
        index
        for index, label in enumerate(labels)
        if entry.get("all") or label in added or (tops & above[index] and label not in removed)
    ]
    words = tuple(dict.fromkeys(map(plain, (name, *entry["aliases"]))))
    return Union(name, words, tuple(members), entry.get("invert", False), entry.get("pick", ""))
