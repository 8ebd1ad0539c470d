"""One object that a model found; its mask is drawn at full size when it is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby

import cv2
import numpy as np
from numpy.typing import NDArray

from .encodings import Rle, polygons, rle
from .selection import Point

__all__ = ["Instance"]

_TILE = 128  # pixels, about: smaller tiles follow the outline more closely, but each costs a call
_CROSSED, _FILLED = 1, 2  # tiles with some samples inside the object, and with all


@dataclass(frozen=True, slots=True)
class Instance:
    """One object in an image.

    Attributes
    ----------
    label
        The model's name for this kind of object.
    score
        Calibrated score, 0..1.
    box
        Left, top, right, bottom in pixels of the image.
    size
        Height and width of the image in pixels.
    logits
        (h, w) float32, the mask over the whole image at the model's resolution; positive inside.
    points
        The points with which it was drawn, besides its box; not sent by a server.

    Examples
    --------
    >>> logits = np.full((4, 4), -1, np.float32)
    >>> logits[1:3, 1:3] = 1
    >>> cup = Instance("cup", 0.9, (1, 1, 3, 3), (4, 4), logits)
    >>> cup.mask[1].tolist(), cup.rle["counts"]
    ([0, 255, 255, 0], '52203')
    """

    label: str
    score: float
    box: tuple[float, float, float, float]
    size: tuple[int, int]
    logits: NDArray[np.float32] = field(repr=False, compare=False)
    points: tuple[Point, ...] = field(default=(), repr=False, compare=False)

    @property
    def mask(self) -> NDArray[np.uint8]:
        """(H, W) uint8, 0 or 255, at the image's size; drawn at each access."""
        canvas = np.zeros(self.size, np.uint8)
        self.paint(canvas)
        return canvas

    @property
    def rle(self) -> Rle:
        """The mask as COCO run lengths."""
        return rle(self.mask)

    @property
    def polygons(self) -> list[list[float]]:
        """The mask as COCO polygons."""
        return polygons(self.mask)

    def paint(self, canvas: NDArray[np.uint8]) -> None:
        """Set the pixels of this object in `canvas`, (H, W) uint8, to 255, and leave the others as they are."""
        for rows, columns, kind in self._tiles():
            part = canvas[rows, columns]
            if kind == _FILLED:
                part[:] = 255
            elif kind == _CROSSED and part.size:  # a tile has no pixel where the image is smaller than the logits
                part |= self._interpolate(rows, columns)

    def _tiles(self) -> Iterator[tuple[slice, slice, int]]:
        """Yield runs of tiles of one kind: rows, columns, kind.

        Between samples of one sign nothing needs to be interpolated, and that is nearly everywhere in a large image.
        """
        step = max(2, round(_TILE * self.logits.shape[1] / self.size[1]))
        step = min(step, max(self.logits.shape))  # one tile is enough for an image of a few pixels
        kinds = _kinds(self.logits > 0, step)
        tops, lefts = (_edges(*sides, step) for sides in zip(self.logits.shape, self.size, strict=True))
        for row, line in enumerate(kinds.tolist()):
            start = 0
            for kind, run in groupby(line):
                stop = start + len([*run])
                yield slice(tops[row], tops[row + 1]), slice(lefts[start], lefts[stop]), kind
                start = stop

    def _interpolate(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """Return one part of the mask, (rows, columns) uint8, 0 or 255."""
        scale_y, scale_x = (low / full for low, full in zip(self.logits.shape, self.size, strict=True))
        # Pixel centres lie at +0.5 in both frames.
        to_logits = np.array(
            [
                [scale_x, 0, (columns.start + 0.5) * scale_x - 0.5],
                [0, scale_y, (rows.start + 0.5) * scale_y - 0.5],
            ]
        )
        part = cv2.warpAffine(
            self.logits,
            to_logits,
            (columns.stop - columns.start, rows.stop - rows.start),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        bits = (np.asarray(part) > 0).view(np.uint8)
        return np.negative(bits, out=bits)


def _kinds(inside: NDArray[np.bool_], step: int) -> NDArray[np.uint8]:
    """Return 0, `_CROSSED` or `_FILLED` for each tile of `step` × `step` samples and the samples around it."""
    down, across = (-(-side // step) for side in inside.shape)
    spare = (1 + down * step - inside.shape[0], 1 + across * step - inside.shape[1])
    padded = np.pad(inside, ((1, spare[0]), (1, spare[1])), mode="edge")
    tiles = np.lib.stride_tricks.sliding_window_view(padded, (step + 2, step + 2))[::step, ::step]
    return np.asarray(np.where(tiles.all(axis=(2, 3)), _FILLED, tiles.any(axis=(2, 3))), np.uint8)


def _edges(samples: int, pixels: int, step: int) -> list[int]:
    """Return where the tiles begin and end in the image, in pixels."""
    return [round(min(edge, samples) * pixels / samples) for edge in range(0, samples + step, step)]
