"""What a prompt of a fixed vocabulary says about its result."""

from __future__ import annotations

from collections.abc import Sequence

from ..words.meaning import Term
from .family import Prediction

__all__ = ["describe"]


def describe(terms: Sequence[Term]) -> Prediction:
    """Return how a prompt was understood, with a warning if words were dropped.

    Examples
    --------
    >>> describe([Term("the red cup", "cup", 41, ("red",))]).dropped
    ('red',)
    """
    dropped = tuple(words for term in terms for words in term.dropped)
    labels = tuple(term.label for term in terms)
    warnings: tuple[str, ...] = ()
    if dropped:
        warnings = (
            f"not used: {', '.join(map(repr, dropped))}; this model knows kinds of objects, not their attributes or "
            f"positions, so the mask shows every {' and '.join(labels)}",
        )
    return Prediction(labels, dropped, warnings)
