"""What every scorer has: an image and resolved prompts in, score maps out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from ...bundle import Bundle
from ...cache import Arrays, ByteCache
from ...session import Session
from ..family import Picture, Prediction, Stopwatch, Words

__all__ = ["Scorer"]

R = TypeVar("R")  # what a prompt resolves to


class Scorer(Protocol[R]):
    """Scores pixels; parameters and errors of the constructor as for `Family`."""

    def __init__(self, bundle: Bundle, sessions: dict[str, Session], cache: ByteCache[Arrays]) -> None: ...

    @staticmethod
    def read_words(bundle: Bundle) -> Words[R]:
        """Read what a bundle with this scorer understands."""

    @property
    def words(self) -> Words[R]:
        """The words that this bundle understands."""

    @property
    def device(self) -> str:
        """The device on which the graphs run."""

    def score(self, picture: Picture, prompts: Sequence[R], watch: Stopwatch) -> list[Prediction]:
        """Return one prediction with a score map for each prompt, in order; they share the work on the image."""
