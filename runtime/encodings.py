"""Encodings of masks for annotation tools: COCO run lengths and polygons."""

from __future__ import annotations

from typing import TypedDict

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Rle", "polygons", "rle", "unpack"]


class Rle(TypedDict):
    """COCO's compressed run lengths, as `pycocotools.mask.decode` reads them.

    Attributes
    ----------
    size
        Height and width in pixels.
    counts
        The compressed run lengths.
    """

    size: list[int]
    counts: str


def rle(mask: NDArray[np.uint8]) -> Rle:
    """Return a mask as COCO run lengths.

    Parameters
    ----------
    mask
        (H, W) uint8; every value but 0 counts as set.

    Returns
    -------
    ``{"size": [H, W], "counts": text}``. The runs go down the columns and begin with one of zeros; from the third on,
    each is written as the difference to the run two before, with five bits in a character.

    References
    ----------
    The format is that of the COCO API, https://github.com/cocodataset/cocoapi.

    Examples
    --------
    >>> rle(np.array([[0, 255], [0, 255]], dtype=np.uint8))
    {'size': [2, 2], 'counts': '22'}
    """
    height, width = mask.shape
    flat = np.concatenate(([False], (mask != 0).ravel(order="F")))
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    runs = np.diff(changes, prepend=0, append=mask.size)
    runs[3:] -= runs[1:-2].copy()
    return {"size": [height, width], "counts": "".join(map(_characters, runs.tolist()))}


def _characters(value: int) -> str:
    text = ""
    while True:
        five, value = value & 31, value >> 5
        # The fifth bit is the sign of what is left, so a number ends once the rest is only sign.
        done = value == (-1 if five & 16 else 0)
        text += chr(48 + (five if done else five | 32))
        if done:
            return text


def unpack(encoded: Rle) -> NDArray[np.bool_]:
    """Return the mask of COCO run lengths, as `rle` wrote them: (H, W).

    Raises
    ------
    ValueError
        The runs do not add up to the size.

    Examples
    --------
    >>> unpack({"size": [2, 2], "counts": "22"}).astype(int).tolist()
    [[0, 1], [0, 1]]
    """
    height, width = encoded["size"]
    runs: list[int] = []
    value = shift = 0
    for character in encoded["counts"]:
        bits = ord(character) - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise ValueError(f"run lengths add up to {sum(runs)}, must add up to {height * width}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def polygons(mask: NDArray[np.uint8]) -> list[list[float]]:
    """Return the outlines of a mask.

    Parameters
    ----------
    mask
        (H, W) uint8; every value but 0 counts as set.

    Returns
    -------
    One flat list ``[x0, y0, x1, y1, …]`` for each connected part (8-neighbours), in pixels, through the centres of its
    border pixels. As in COCO, there are no holes, and parts with fewer than three corners are left out; `rle` is exact.

    Examples
    --------
    >>> square = np.zeros((4, 4), dtype=np.uint8)
    >>> square[1:3, 1:3] = 255
    >>> polygons(square)
    [[1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 1.0]]
    """
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [outline.ravel().astype(float).tolist() for outline in outlines if len(outline) > 2]
