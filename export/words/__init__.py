"""Vocabularies of label sets: the words of a prompt that mean a label."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from .build import build_with_wordnet, build_without_wordnet, unplaced
from .sets import LabelSet, find_label_set

__all__ = ["describe_words", "vocabulary_for"]

_MOST_LISTED: Final = 20


def vocabulary_for(labels: Sequence[str], wordnet: Path | None = None) -> dict[str, Any]:
    """Return the content of `vocabulary.json` for a label set.

    Parameters
    ----------
    labels
        In the model's order; synonyms may be joined by commas, as in ADE20K's and ImageNet's.
    wordnet
        Folder of WordNet's files; see `automask.export.words.sources.find_wordnet`. Without it, labels that COCO does
        not have are known by their names and by the synonyms in their table alone.

    Returns
    -------
    dict
        As `automask.words.vocabulary.Vocabulary.from_file` reads it. ``unplaced``: the labels that no word means.

    Examples
    --------
    >>> vocabulary_for(["anode", "tv, television"])["aliases"]
    {'anode': 0, 'tv': 1, 'television': 1}
    """
    return deepcopy(_build(tuple(labels), wordnet))


@lru_cache(maxsize=4)  # takes seconds; several models often have the same labels
def _build(labels: Sequence[str], wordnet: Path | None) -> dict[str, Any]:
    label_set = find_label_set(labels)
    built = build_with_wordnet(label_set, wordnet) if wordnet else build_without_wordnet(label_set)
    return {**built, "unplaced": unplaced(label_set)}


def describe_words(labels: Sequence[str], vocabulary: Mapping[str, Any], missing: str = "") -> str:
    """Return the line in which an export says how it understood the labels.

    Parameters
    ----------
    labels
        In the model's order.
    vocabulary
        What `vocabulary_for` returned.
    missing
        Why there is no WordNet; empty if there is.

    Examples
    --------
    >>> labels = ["N/A", "anode", "cathode"]
    >>> describe_words(labels, vocabulary_for(labels), "npm is not installed")  # doctest: +NORMALIZE_WHITESPACE
    '3 labels of no known set, without WordNet (npm is not installed); known by their own names alone: anode, cathode;
    known by no word: N/A'
    """
    label_set = find_label_set(labels)
    parts = [f"{len(labels)} labels of {label_set.title or 'no known set'}"]
    parts[0] += f", without WordNet ({missing})" if missing else ", with WordNet"
    if alone := _known_by_name(label_set, vocabulary):
        parts.append(f"known by their own names alone: {_listed(alone)}")
    if vocabulary["unplaced"]:
        parts.append(f"known by no word: {_listed(dict.fromkeys(vocabulary['unplaced']))}")
    return "; ".join(parts)


def _known_by_name(label_set: LabelSet, vocabulary: Mapping[str, Any]) -> list[str]:
    """Return the labels of no table for which there is no other word than their names."""
    return [
        entry.label
        for entry, words in zip(label_set.entries, vocabulary["words"], strict=True)
        if entry.names and not entry.known and not words
    ]


def _listed(labels: Collection[str]) -> str:
    shown = ", ".join([*labels][:_MOST_LISTED])
    return shown if len(labels) <= _MOST_LISTED else f"{shown} and {len(labels) - _MOST_LISTED} more"
