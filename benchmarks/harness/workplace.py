"""What a question is given to measure with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class NotHereError(Exception):
    """A question cannot be answered on this machine; the message says what it takes."""


@dataclass(frozen=True)
class Workplace:
    """How thoroughly to measure, and where to put what is made on the way.

    Attributes
    ----------
    quick
        Only show that everything works: small models, few rounds, figures that mean nothing.
    folder
        Shared by the questions of one run, and deleted after it.
    data
        Photos with ground truth, for the question `quality`.
    """

    quick: bool
    folder: Path
    data: Path | None = None

    def pick(self, thorough: T, quick: T) -> T:
        """Choose a count."""
        return quick if self.quick else thorough
