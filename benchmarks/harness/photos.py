"""Photos to measure with: one real one in any size, and files that no cache has seen."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cache
from itertools import count

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.machine import ROOT

Pixels = NDArray[np.uint8]

PROMPTS = ("cup", "dining table")
"""What to ask for in it. The embedded model finds both: where nothing is found, there is no mask to draw."""

_numbers = count()


@cache
def photo(width: int, height: int, least_bytes: int = 0) -> bytes:
    """Give `examples/coffee.jpg` in this size as a JPEG, of the first quality from 80 that fills so many bytes."""
    with Image.open(ROOT / "examples" / "coffee.jpg") as source:
        sized = source.convert("RGB").resize((width, height))
    for quality in range(80, 101):
        file = io.BytesIO()
        sized.save(file, "JPEG", quality=quality)
        if file.tell() >= least_bytes:
            break
    return file.getvalue()


def unseen(jpeg: bytes) -> bytes:
    """Give the same picture as a file that was not there before: a few bytes follow the end of the picture."""
    return jpeg + next(_numbers).to_bytes(8, "big")


def noise(series: int) -> Iterator[Pixels]:
    """Give 640×480 pictures, all of them different, also from those of another series."""
    generator = np.random.default_rng(series)
    while True:
        yield generator.integers(0, 256, (480, 640, 3), np.uint8)
