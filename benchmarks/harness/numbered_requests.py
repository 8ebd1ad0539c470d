"""Requests by number, for the kill runs: each number stands for one photo and one prompt, and so for one mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import automask

from .photos import COFFEE

PHOTO = COFFEE.read_bytes()
_PHOTOS = [PHOTO + bytes([number]) for number in range(3)]
_PROMPTS = ("cup", "dining table", "spoon")
_KINDS = len(_PHOTOS) * len(_PROMPTS)


def photo_and_prompt(number: int) -> tuple[bytes, str]:
    """Return the photo and the prompt of a request."""
    return _PHOTOS[number % len(_PHOTOS)], _PROMPTS[number // len(_PHOTOS) % len(_PROMPTS)]


class ExpectedMasks:
    """The masks that the library computes for these requests."""

    def __init__(self) -> None:
        segmenter = automask.load(device="cpu")
        self._masks = [segmenter.mask(*photo_and_prompt(number)).mask for number in range(_KINDS)]

    def is_right(self, number: int, mask: NDArray[np.uint8]) -> bool:
        """Whether a mask is the library's mask for the request of this number."""
        return np.array_equal(mask, self._masks[number % _KINDS])
