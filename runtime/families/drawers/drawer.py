"""What every drawer has: an image and boxes or points in, one mask for each out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ...bundle import Bundle
from ...cache import Arrays, ByteCache
from ...selection import Point, Selection
from ...session import Session
from ..family import Picture, Stopwatch

__all__ = ["Drawer", "Drawing", "Hint"]


class Hint(NamedTuple):
    """Where one object is: a box, points, or both, in pixels of the image.

    Attributes
    ----------
    box
        Left, top, right, bottom; or None.
    points
        x, y and 1 inside the object or 0 outside. At least one has label 1 if there is no box.
    """

    box: tuple[float, float, float, float] | None
    points: tuple[Point, ...] = ()


class Drawing(NamedTuple):
    """The mask of one object.

    Attributes
    ----------
    logits
        (h, w) float32 over the whole image, at the drawer's own resolution; positive inside.
    iou
        The IoU with the object that the drawer predicts for its mask, 0..1.
    """

    logits: NDArray[np.float32]
    iou: float


class Drawer(Protocol):
    """Draws masks; parameters and errors of the constructor as for `Family`."""

    def __init__(self, bundle: Bundle, sessions: dict[str, Session], cache: ByteCache[Arrays]) -> None: ...

    @staticmethod
    def check(bundle: Bundle, selection: Selection) -> None:
        """Raise `ParameterError` if the drawer of a bundle cannot use the box or the points of a selection."""

    @property
    def device(self) -> str:
        """The device on which the graphs run: a name of the table of devices."""

    def draw(self, picture: Picture, boxes: NDArray[np.float32], watch: Stopwatch) -> list[NDArray[np.float32]]:
        """Return the mask of the object in each box.

        Parameters
        ----------
        picture
            The image.
        boxes
            (n, 4) float32, n ≥ 1: left, top, right, bottom in pixels of the image.
        watch
            Measures the stages.

        Returns
        -------
        For each box (h, w) float32: logits over the whole image, at the drawer's own resolution; positive inside.
        """

    def draw_hints(self, picture: Picture, hints: Sequence[Hint], watch: Stopwatch) -> list[Drawing]:
        """Return the mask of the object of each of n ≥ 1 hints."""

    def redraw(
        self,
        picture: Picture,
        hint: Hint,
        logits: NDArray[np.float32],
        watch: Stopwatch,
    ) -> NDArray[np.float32]:
        """Return a mask drawn again from a view of its box alone, averaged with the first one.

        Parameters
        ----------
        picture
            The image.
        hint
            Where the object is; it has a box.
        logits
            (h, w) float32, as `draw_hints` returned it for this hint.
        watch
            Measures the stages.

        Returns
        -------
        (h, w) float32: logits over the whole image, at a higher resolution; positive inside.
        """
