"""Vocabularies of label sets: the words of a prompt that mean a label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["vocabulary_for"]


def vocabulary_for(labels: Sequence[str]) -> dict[str, Any]:
    """Return the content of `vocabulary.json` for a label set.

    Parameters
    ----------
    labels
        In the model's order; synonyms may be joined by commas, as in ADE20K's and ImageNet's.

    Returns
    -------
    dict
        As `automask.words.vocabulary.Vocabulary.from_file` reads it. ``unplaced``: the labels that no word means.

    Examples
    --------
    >>> vocabulary_for(["dining table", "tv, television"])["aliases"]
    {'dining table': 0, 'tv': 1, 'television': 1}
    """
    names = [_names(label) for label in labels]
    aliases: dict[str, int] = {}
    for index, group in enumerate(names):
        for name in group:
            aliases.setdefault(name, index)
    return {
        "labels": [next(iter(_written(label)), label) for label in labels],
        "aliases": aliases,
        "words": [],
        "refused": [],
        "plurals": {},
        "unplaced": [label for label, group in zip(labels, names, strict=True) if not group],
    }


def _written(label: str) -> list[str]:
    return [name.strip() for name in label.split(",") if any(letter.isalpha() for letter in name)]


def _names(label: str) -> list[str]:
    """Return the names in a label as phrases of the runtime: lower case, words separated by spaces."""
    plain = (name.casefold().replace("-", " ").replace("_", " ") for name in _written(label))
    return [" ".join(name.split()) for name in plain if name != "n/a"]  # COCO's unused numbers
