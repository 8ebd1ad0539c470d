"""Photos to measure with: one real photo in any size, files that no cache has seen, and noise."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cache
from itertools import count

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .machine import ROOT

Pixels = NDArray[np.uint8]

COFFEE = ROOT / "examples" / "coffee.jpg"
PROMPTS = ("cup", "dining table")
"""Prompts for that photo. The embedded model finds both: where nothing is found, there is no mask to draw."""

_numbers = count()


@cache
def photo(width: int, height: int, least_bytes: int = 0) -> bytes:
    """Return `examples/coffee.jpg` in this size as a JPEG.

    Its quality is the lowest one from 80 to 100 at which the file has at least `least_bytes` bytes.
    """
    with Image.open(COFFEE) as source:
        sized = source.convert("RGB").resize((width, height))
    for quality in range(80, 101):
        file = io.BytesIO()
        sized.save(file, "JPEG", quality=quality)
        if file.tell() >= least_bytes:
            break
    return file.getvalue()


def unseen(jpeg: bytes) -> bytes:
    """Return the same picture as new bytes, which no cache holds: a counter follows the end of the picture."""
    return jpeg + next(_numbers).to_bytes(8, "big")


def noise(series: int) -> Iterator[Pixels]:
    """Yield different 640×480 pictures of noise; two series have no picture in common."""
    generator = np.random.default_rng(series)
    while True:
        yield generator.integers(0, 256, (480, 640, 3), np.uint8)


def zipf(photos: int, exponent: float = 1.0) -> tuple[float, ...]:
    """Return the popularity of each photo by Zipf's law: the n-th has the weight 1 / n ** exponent."""
    return tuple(1 / number**exponent for number in range(1, photos + 1))
