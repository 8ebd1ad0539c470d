"""Unions: one name for several classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .meaning import Pick

__all__ = ["Union"]

_MOST_LISTED: Final = 20


@dataclass(frozen=True, slots=True)
class Union:
    """Several classes that go by one name, such as "fruit".

    Attributes
    ----------
    name
        Its name.
    words
        Phrases that mean it.
    members
        Indices of the classes.
    invert
        The mask is everything but these classes: "background".
    pick
        Which of the objects found are taken.
    """

    name: str
    words: tuple[str, ...]
    members: tuple[int, ...]
    invert: bool = False
    pick: Pick = ""

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Union:
        """Read one of the unions of a vocabulary file."""
        return cls(**{**content, "words": tuple(content["words"]), "members": tuple(content["members"])})

    @property
    def is_rule(self) -> bool:
        """Whether it says more than which classes are meant, so that it can only stand alone."""
        return self.invert or bool(self.pick)

    def describe(self, labels: Sequence[str]) -> str:
        """Return the sentence that says which of the labels the union stands for."""
        everything = f"the {len(self.members)} kinds of object that this model knows"
        if self.invert:
            return f"{self.name!r} is all of the picture but {everything}"
        if self.pick:
            return f"{self.name!r} is the largest, most central object of {everything}"
        if len(self.members) == len(labels):
            return f"{self.name!r} is {everything}"
        listed = ", ".join(labels[index] for index in self.members[:_MOST_LISTED])
        more = len(self.members) - _MOST_LISTED
        return f"as {self.name!r} this model knows {listed}{f' and {more} more' if more > 0 else ''}"
