"""What every finder has: an image and resolved prompts in, boxes and scores out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...bundle import Bundle
from ...cache import Arrays, ByteCache
from ...session import Session
from ..family import Picture, Prediction, Stopwatch, Words

__all__ = ["MAX_INSTANCES", "MAX_WITH_WEAK", "Detections", "Finder", "left_out", "most_drawn"]

MAX_INSTANCES = 100
"""Most objects of one prompt, the best ones first."""

MAX_WITH_WEAK = 20
"""Most objects of one prompt where some are weak: a threshold near 0 asks for a mask of nearly every box."""

_WEAK = 0.1  # nearly all scores below half of the default threshold are noise

R = TypeVar("R")  # what a prompt resolves to


@dataclass(frozen=True, slots=True)
class Detections:
    """What a finder found for one prompt: n objects, best first.

    Attributes
    ----------
    prediction
        How the prompt was understood; its instances are not drawn yet.
    boxes
        (n, 4) float32: left, top, right, bottom in pixels of the image.
    scores
        (n,) float32, calibrated, 0..1.
    labels
        The label of each object.
    """

    prediction: Prediction
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: tuple[str, ...]


class Finder(Protocol[R]):
    """Finds objects; parameters and errors of the constructor as for `Family`.

    Attributes
    ----------
    reads_together
        Whether the prompts of one call of `find` change each other's scores.
    """

    reads_together: ClassVar[bool]

    def __init__(self, bundle: Bundle, sessions: dict[str, Session], cache: ByteCache[Arrays]) -> None: ...

    @staticmethod
    def read_words(bundle: Bundle) -> Words[R]:
        """Read what a bundle with this finder understands."""

    @property
    def words(self) -> Words[R]:
        """The words that this bundle understands."""

    def find(
        self, picture: Picture, prompts: Sequence[R], thresholds: Sequence[float], watch: Stopwatch
    ) -> list[Detections]:
        """Return the objects of each prompt with a score at or above its threshold, up to `MAX_INSTANCES`."""


def most_drawn(scores: Sequence[float]) -> int:
    """Return how many of the best objects are drawn, given their scores, best first, at most `MAX_INSTANCES`."""
    strong = sum(score >= _WEAK for score in scores)
    return min(len(scores), max(strong, MAX_WITH_WEAK))


def left_out(most: int, threshold: float) -> str:
    """Return the warning that only the best objects are drawn."""
    return (
        f"there are more objects with a score of at least {threshold:g} than the {most} best ones, which are in the "
        f"mask: at most {MAX_INSTANCES} are drawn, and at most {MAX_WITH_WEAK} where scores are below {_WEAK:g}"
    )
