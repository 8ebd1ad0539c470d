"""Spelling: how far apart two words are, and when one may be a mistyped form of the other."""

from __future__ import annotations

from typing import Final

__all__ = ["SOUNDS", "distance", "is_typo", "limit"]

SOUNDS: Final = str.maketrans("kz", "cs")
"""Letters that count as one."""


def limit(word: str) -> int:
    """Return how many typing errors a word may have: none up to 3 letters, one up to 6, else two.

    Examples
    --------
    >>> limit("cat"), limit("zebra"), limit("umbrella")
    (0, 1, 2)
    """
    return 0 if len(word) <= 3 else 1 if len(word) <= 6 else 2


def is_typo(typed: str, word: str) -> bool:
    """Return whether a word may be a mistyped form of another: few errors, and not in the first letter.

    "k" and "c" count as one letter, "z" and "s" too.

    Examples
    --------
    >>> is_typo("kat", "cat"), is_typo("zebbra", "zebra"), is_typo("hair", "chair")
    (True, True, False)
    """
    a, b = typed.translate(SOUNDS), word.translate(SOUNDS)
    most = limit(min(typed, word, key=len))
    return a[:1] == b[:1] and abs(len(a) - len(b)) <= most and distance(a, b) <= most


def distance(a: str, b: str) -> int:
    """Return the least number of inserted, removed, replaced and swapped letters between two words.

    The optimal string alignment distance.

    Examples
    --------
    >>> distance("racket", "rocket"), distance("hosre", "horse")
    (1, 1)
    """
    before: list[int] = []
    row: list[int] = [*range(len(b) + 1)]
    for i, left in enumerate(a, 1):
        older, before, row = before, row, [i]
        for j, right in enumerate(b, 1):
            cost = min(row[j - 1] + 1, before[j] + 1, before[j - 1] + (left != right))
            if i > 1 and j > 1 and left == b[j - 2] and a[i - 2] == right:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
    return row[-1]
