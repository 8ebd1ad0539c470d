"""What every family has: an image and prompts in, predictions out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle
from ..cache import Arrays, ByteCache
from ..instance import Instance
from ..interrupt import current_interrupt
from ..selection import Selection
from ..session import Session
from ..words.meaning import Meaning

__all__ = ["Family", "Picture", "Prediction", "Stopwatch", "Words"]

R = TypeVar("R")  # what a prompt resolves to
R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded image and the hash of its content.

    Attributes
    ----------
    pixels
        (h, w, 3) uint8, RGB, upright; a large image may be decoded at a fraction of its size.
    size
        Height and width of the image itself, in pixels.
    key
        Hash of the content; results that depend on the image alone are cached under it.
    photo
        The whole image: (H, W, 3) uint8, RGB, upright, or the encoded file.
    """

    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    key: bytes
    photo: NDArray[np.uint8] | bytes


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model found for one prompt on one image.

    Attributes
    ----------
    labels
        Labels that the prompt resolved to.
    dropped
        Words of the prompt that were not used.
    warnings
        One sentence for each way in which the result may differ from what the prompt asks for.
    instances
        Objects with a score at or above the threshold, best first.
    score_map
        (H, W) float32 in 0..1, of a family that scores pixels: its thresholding is the mask, unless `by_instances`.
        None: the mask is the union of the instances.
    by_instances
        Whether the mask is the union of the instances although there is a score map.
    """

    labels: tuple[str, ...]
    dropped: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    instances: tuple[Instance, ...] = ()
    score_map: NDArray[np.float32] | None = None
    by_instances: bool = False


@dataclass(slots=True)
class Stopwatch:
    """Milliseconds by stage; a stage that runs twice adds up."""

    stages: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to a stage.

        Raises
        ------
        CancelledError
            The interrupt of this thread was set before the stage.
        """
        interrupt = current_interrupt()
        if interrupt is not None:
            interrupt.check()
        start = perf_counter()
        try:
            yield
        finally:
            self.stages[name] = self.stages.get(name, 0.0) + (perf_counter() - start) * 1e3


class Words(Protocol[R_co]):
    """The words that a bundle understands, known without opening its graphs. Can be pickled."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of a fixed vocabulary; empty where any text is understood."""

    def resolve(self, prompt: str) -> Meaning[R_co]:
        """Return what a prompt means to the model: in terms of a fixed vocabulary, or as the text itself.

        Raises
        ------
        ParameterError
            The prompt is blank.
        UnknownPromptError
            The model has a fixed vocabulary, and part of the prompt is not in it.
        """


class Family(Protocol[R]):
    """A loaded bundle.

    Parameters
    ----------
    bundle
        A bundle of this family.
    sessions
        A session for each graph, by role.
    cache
        Keeps arrays that depend on the image alone or on a prompt alone.

    Raises
    ------
    KeyError, TypeError, AttributeError
        The manifest lacks a setting that this family needs, or has it in another form.
    BundleError
        A graph has other inputs or outputs than this family needs.
    """

    def __init__(self, bundle: Bundle, sessions: dict[str, Session], cache: ByteCache[Arrays]) -> None: ...

    @staticmethod
    def read_words(bundle: Bundle) -> Words[R]:
        """Read what a bundle of this family understands; raises as the constructor does."""

    @staticmethod
    def check_selection(bundle: Bundle, selection: Selection) -> None:
        """Raise `ParameterError` if a bundle of this family cannot use a selection, which is not empty."""

    @property
    def device(self) -> str:
        """The device on which the graphs run: a name of the table of devices."""

    @property
    def words(self) -> Words[R]:
        """The words that this bundle understands."""

    @property
    def reads_together(self) -> bool:
        """Whether the prompts of one call of `predict` change each other's scores."""

    def predict(
        self, picture: Picture, prompts: Sequence[R], thresholds: Sequence[float], watch: Stopwatch
    ) -> list[Prediction]:
        """Return one prediction for each prompt, in order; they share the work on the image.

        Parameters
        ----------
        picture
            The image.
        prompts
            What is looked for, as `words` resolved it: `Meaning.wanted` or `Meaning.excluded`.
        thresholds
            Least score of an instance, 0..1, for each prompt.
        watch
            Measures the stages.
        """

    def select(
        self, picture: Picture, prompt: R | None, threshold: float, selection: Selection, watch: Stopwatch
    ) -> Prediction:
        """Return the prediction for one prompt and a selection that `check_selection` accepted.

        Parameters
        ----------
        picture, watch
            As for `predict`.
        prompt
            A prompt as `words` resolved it; None where the selection means an object by itself.
        threshold
            Least score of the prompt's instances, 0..1.
        selection
            A box, points and instances, as `Selection` documents them.

        Raises
        ------
        ParameterError
            The box or a point is outside the image, or there is no instance with an index that was passed.
        """

    def redraw(self, picture: Picture, prediction: Prediction, watch: Stopwatch) -> Prediction:
        """Return a prediction on this image whose largest instances are drawn again, from a closer view.

        Parameters
        ----------
        picture
            The image.
        prediction
            As `predict` returned it for this image.
        watch
            Measures the stages.
        """
