"""Label sets: for each label of a model its names, WordNet roots and synonyms, from the tables in `sets/`.

A table has one entry for each label, with these fields, all optional:

- ``like``: the label of COCO whose synonyms and roots it has; by default the one of the same name; empty for none
- ``synsets``: WordNet roots, ``lemma.sense``: every noun below one of them belongs to the label; by default those of
  ``like``, or the sense of the label's own name
- ``without``: roots whose nouns are excluded
- ``aliases``: phrases that always mean the label; singular, lower case, no hyphens
- ``names``: the names in the label, where its own spelling has wrong ones
- ``spellings``: other spellings of the label in checkpoints

and for the whole set ``refuse`` (phrases that look like a label and mean none), ``plurals`` (irregular ones), ``stuff``
(labels that are no objects) and ``unions`` (as in `unions.toml`, whose entries they extend).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from .names import is_nothing, key, names_of, shown

__all__ = ["COCO", "Entry", "LabelSet", "find_label_set", "read_table"]

COCO: Final = "coco"
"""The table whose synonyms the others share."""

_FOLDER: Final = Path(__file__).with_name("sets")
_OWN: Final = ("refuse", "plurals", "stuff", "unions", "title")
# A model with fewer labels of a table has labels of its own, which only look like them: a mouse beside a rat is no
# computer mouse.
_LEAST_SHARE: Final = 0.6


@dataclass(frozen=True, slots=True)
class Entry:
    """What one label means.

    Attributes
    ----------
    label
        As results show it.
    known
        The label in its table; empty if there is none.
    names
        Phrases in the label itself; none if it stands for nothing.
    kind
        The label of COCO that it is; empty if it is none.
    roots
        WordNet roots, ``lemma.sense``; None: the sense of its names.
    without
        Roots whose nouns are excluded.
    aliases
        Phrases that always mean the label.
    borrowed
        Phrases that mean it unless another label is meant by their end.
    is_thing
        Whether it is a kind of object.
    """

    label: str
    names: tuple[str, ...]
    known: str = ""
    kind: str = ""
    roots: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    borrowed: tuple[str, ...] = ()
    is_thing: bool = True


@dataclass(frozen=True, slots=True)
class LabelSet:
    """The labels of a model, in its order.

    Attributes
    ----------
    title
        Name of the known label set; empty for another one.
    entries
        One for each label.
    refuse
        Phrases that look like a label and mean none.
    borrowed_refuse
        Those of COCO, which hold only where COCO's meaning of their end does.
    plurals
        Singular by irregular plural.
    unions
        The unions of its own.
    """

    title: str
    entries: tuple[Entry, ...]
    refuse: tuple[str, ...] = ()
    borrowed_refuse: tuple[str, ...] = ()
    plurals: Mapping[str, str] = field(default_factory=dict)
    unions: Mapping[str, Any] = field(default_factory=dict)


@cache
def read_table(name: str) -> Mapping[str, Any]:
    """Return a table of `sets/`: its entries by label under ``labels``, and what concerns the whole set."""
    table = tomllib.loads((_FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    own = {field: table.pop(field, {}) for field in _OWN}
    return {**own, "labels": table}


def find_label_set(labels: Sequence[str]) -> LabelSet:
    """Return what the labels of a model mean.

    Parameters
    ----------
    labels
        In the model's order. They need not be all of a known set, nor have its order.
    """
    keys = [_keys(label, names) for label, names in zip(labels, names_of(labels), strict=True)]
    tables = {path.stem: _entries_by_key(path.stem) for path in sorted(_FOLDER.glob("*.toml"))}
    shares = {name: sum(not entries.keys().isdisjoint(group) for group in keys) for name, entries in tables.items()}
    # The set of which it has the most labels; of two of them, the smaller set.
    name = max(tables, key=lambda name: (shares[name], -len({*tables[name].values()})))
    if shares[name] < _LEAST_SHARE * max(sum(map(bool, keys)), 1):
        return _unknown(labels)
    return _known(labels, keys, name)


@cache
def _entries_by_key(name: str) -> Mapping[str, str]:
    """Return the labels of a table by the keys of all their spellings.

    Synonyms do not count: a model of boys and girls has no label "person".
    """
    table = read_table(name)["labels"]
    found = {key(label): label for label in table}
    for label, names in zip(table, names_of([*table]), strict=True):
        for spelling in (*map(key, table[label].get("spellings", ())), *_keys(label, names)):
            found.setdefault(spelling, label)
    return found


def _keys(label: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return the keys of a label and of the names in it; what is in brackets counts: a mouse is no computer mouse."""
    if is_nothing(label):
        return ()
    return (key(label), *map(key, () if "(" in label else names))


def _unknown(labels: Sequence[str]) -> LabelSet:
    entries = [Entry(shown(label), names) for label, names in zip(labels, names_of(labels), strict=True)]
    return LabelSet("", tuple(entries), plurals=read_table(COCO)["plurals"])


def _known(labels: Sequence[str], keys: Sequence[Sequence[str]], name: str) -> LabelSet:
    table, coco, by_key = read_table(name), read_table(COCO), _entries_by_key(name)
    # Two labels may be the same to the table; then the one that has its spelling is meant.
    claimed = {by_key[group[0]] for group in keys if group and group[0] in by_key}
    entries: list[Entry] = []
    used: set[str] = set()
    for label, names, group in zip(labels, names_of(labels), keys, strict=True):
        exact = by_key.get(group[0], "") if group else ""
        found = exact or next((by_key[each] for each in group if by_key.get(each, "") not in {"", *claimed}), "")
        if found in used:
            found = ""
        used |= {found} - {""}
        # Beside labels of surroundings, further ones mostly are that, too: COCO-Stuff has "clouds" and "branch".
        unknown = Entry(shown(label), names, is_thing=not table["stuff"])
        entries.append(_entry(label, names, found, table, is_coco=name == COCO) if found else unknown)
    return LabelSet(
        title=table["title"] or "COCO",
        entries=tuple(_with_one_entry_for_each_kind(entries)),
        refuse=tuple(table["refuse"]),
        borrowed_refuse=() if name == COCO else tuple(coco["refuse"]),
        plurals={**coco["plurals"], **table["plurals"]},
        unions=table["unions"],
    )


def _entry(label: str, names: Sequence[str], known: str, table: Mapping[str, Any], *, is_coco: bool) -> Entry:
    own = table["labels"][known]
    kind = known if is_coco else own.get("like", _kind(known))
    base = {} if is_coco or not kind else read_table(COCO)["labels"][kind]
    roots = own.get("synsets", base.get("synsets"))
    return Entry(
        shown(label),
        tuple(own.get("names") or dict.fromkeys((*names, *names_of([known])[0]))),
        known=known,
        kind=kind,
        roots=None if roots is None else tuple(roots),
        without=tuple(own.get("without", base.get("without", ()))),
        aliases=tuple(own.get("aliases", ())),
        borrowed=(kind, *base["aliases"]) if base else (),
        is_thing=known not in table["stuff"],
    )


def _kind(label: str) -> str:
    return next((kind for kind in read_table(COCO)["labels"] if key(kind) == key(label)), "")


def _with_one_entry_for_each_kind(entries: Sequence[Entry]) -> list[Entry]:
    kinds: set[str] = set()
    found = []
    for entry in entries:
        found.append(replace(entry, kind="") if entry.kind in kinds else entry)
        kinds.add(entry.kind)
    return found
