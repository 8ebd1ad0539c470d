"""Vocabularies of label sets: the words of a prompt that mean a label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .build import build_with_wordnet, build_without_wordnet, unplaced
from .sets import find_label_set

__all__ = ["vocabulary_for"]


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
    label_set = find_label_set(labels)
    built = build_with_wordnet(label_set, wordnet) if wordnet else build_without_wordnet(label_set)
    return {**built, "unplaced": unplaced(label_set)}
