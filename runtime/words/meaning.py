"""What a prompt means to a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar

__all__ = ["Meaning", "Pick", "Term"]

R_co = TypeVar("R_co", covariant=True)  # what a family looks for

Pick: TypeAlias = Literal["", "subject"]
"""Which of the objects found are taken: all, or only the largest and most central one."""


@dataclass(frozen=True, slots=True)
class Term:
    """One kind of object that a prompt names.

    Attributes
    ----------
    text
        This part of the prompt as it was typed.
    label
        Label of the class.
    index
        Index of the class, in the detector's order.
    dropped
        Attributes and relations that could not be used, as they were typed; no articles.
    union
        Name of the union that the prompt named, such as ``fruit``; empty if it named the class.
    """

    text: str
    label: str
    index: int
    dropped: tuple[str, ...] = ()
    union: str = ""


@dataclass(frozen=True, slots=True)
class Meaning(Generic[R_co]):
    """What to look for, and what to do with what is found. Can be pickled.

    Attributes
    ----------
    wanted
        What the family looks for: terms with a fixed vocabulary, else the text itself.
    excluded
        What is subtracted from the mask, in the same form; None for nothing.
    invert
        Whether the mask is everything but what was found.
    pick
        Which of the objects found are taken.
    warnings
        One sentence for each way in which the prompt was read that its writer may not expect.
    """

    wanted: R_co
    excluded: R_co | None = None
    invert: bool = False
    pick: Pick = ""
    warnings: tuple[str, ...] = ()
