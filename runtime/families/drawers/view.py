"""Closer views: an object drawn again from its box alone, and the mean of both masks."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .drawer import Hint

__all__ = ["View"]

_MARGIN = 0.125  # of the box, on each side of a closer view
_LEAST_AGREEMENT = 0.75  # IoU of both views, below which the closer one saw another object: a part, or what is behind
_LARGEST_GRID = 1024  # cells along the longer side of an image


class View(NamedTuple):
    """A part of an image, and the cells that it covers in a grid over the whole image.

    Attributes
    ----------
    rows, columns
        First and one-past-last pixel.
    grid
        Rows and columns of the grid.
    cells
        First and one-past-last row of cells, then column.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    grid: tuple[int, int]
    cells: tuple[tuple[int, int], tuple[int, int]]

    @classmethod
    def around(cls, box: tuple[float, float, float, float], size: tuple[int, int], resolution: int) -> View:
        """Return the view of a box and a margin around it; its longer side has `resolution` cells, if it can."""
        left, top, right, bottom = box
        margins = _MARGIN * (bottom - top), _MARGIN * (right - left)
        wide = ((top - margins[0], bottom + margins[0]), (left - margins[1], right + margins[1]))
        sides = [(max(0, start), min(length, stop)) for (start, stop), length in zip(wide, size, strict=True)]
        density = resolution / max(1, *(stop - start for start, stop in sides))
        density = min(density, _LARGEST_GRID / max(size))
        grid = max(1, round(size[0] * density)), max(1, round(size[1] * density))
        cells, pixels = [], []
        for (start, stop), count, length in zip(sides, grid, size, strict=True):
            first, last = int(start * count / length), min(count, -int(-stop * count // length))
            cells.append((first, last))
            pixels.append((round(first * length / count), round(last * length / count)))
        return cls(pixels[0], pixels[1], grid, (cells[0], cells[1]))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]

    def move(self, hint: Hint) -> Hint:
        """Return a hint in the frame of the view, without the points outside it."""
        (top, bottom), (left, right) = self.rows, self.columns
        box = hint.box and (hint.box[0] - left, hint.box[1] - top, hint.box[2] - left, hint.box[3] - top)
        inside = (point for point in hint.points if left <= point[0] <= right and top <= point[1] <= bottom)
        return Hint(box, tuple((x - left, y - top, label) for x, y, label in inside))

    def average(self, logits: NDArray[np.float32], closer: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return logits over the whole grid: inside the view, the mean of those of the image and those of the view."""
        full = np.array(cv2.resize(logits, self.grid[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
        (top, bottom), (left, right) = self.cells
        part = full[top:bottom, left:right]
        mean = 0.5 * (part + cv2.resize(closer, part.shape[::-1], interpolation=cv2.INTER_LINEAR))
        before, after = part > 0, mean > 0
        if (before & after).sum() >= _LEAST_AGREEMENT * (before | after).sum():
            part[:] = mean
        return full
