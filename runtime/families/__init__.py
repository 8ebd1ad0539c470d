"""Families: how the graphs of a bundle fit together, and what comes out whichever of them ran."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..interrupt import current_interrupt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..bundle import Bundle
    from ..instance import Instance

__all__ = ["Family", "Picture", "Prediction", "Stopwatch", "Words"]

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded image and the hash of its content.

    Attributes
    ----------
    pixels
        (h, w, 3) uint8, RGB, upright; a large photo may be decoded smaller than it is.
    size
        Its own height and width in pixels.
    key
        The same for the same content; what is computed from the picture is cached under it.
    photo
        All of it: pixels as above, or the file.
    """

    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    key: bytes
    photo: NDArray[np.uint8] | bytes


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a family says about one prompt on one picture.

    Attributes
    ----------
    labels
        What the model took the prompt for.
    dropped
        Words of the prompt that were not used.
    warnings
        Sentences about what the user may not expect.
    instances
        Objects at or above the threshold, best first.
    score_map
        (H, W) float32 in 0..1 where the family gives one; the mask is then its thresholding, else the union of the
        instances.
    """

    labels: tuple[str, ...]
    dropped: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    instances: tuple[Instance, ...] = ()
    score_map: NDArray[np.float32] | None = None


@dataclass(slots=True)
class Stopwatch:
    """Milliseconds by stage; a stage that runs twice adds up."""

    stages: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time spent inside as stage `name`; it does not begin once the thread's interrupt is set."""
        interrupt = current_interrupt()
        if interrupt is not None:
            interrupt.check()
        start = perf_counter()
        try:
            yield
        finally:
            self.stages[name] = self.stages.get(name, 0.0) + (perf_counter() - start) * 1e3


class Words(Protocol[R_co]):
    """The words that a bundle understands, known without opening its graphs; can be pickled."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The kinds of object that it knows; empty where it takes any text."""

    def resolve(self, prompt: str) -> R_co:
        """Return what a prompt means to the model: its terms with a fixed vocabulary, else the text itself.

        Raises
        ------
        ParameterError
            The prompt is blank.
        UnknownPromptError
            The model has a fixed vocabulary, and part of the prompt is not in it.
        """


class Family(Protocol[R]):
    """A loaded bundle: prompts in, predictions out."""

    @staticmethod
    def read_words(bundle: Bundle) -> Words[R]:
        """Read what a bundle of this family understands."""

    @property
    def device(self) -> str:
        """Where it runs: ``cpu``, ``cuda`` or ``tensorrt``."""

    @property
    def words(self) -> Words[R]:
        """What it understands."""

    def predict(
        self, picture: Picture, prompts: Sequence[R], thresholds: Sequence[float], watch: Stopwatch
    ) -> list[Prediction]:
        """Return one prediction for each resolved prompt, at its own threshold, in order."""
