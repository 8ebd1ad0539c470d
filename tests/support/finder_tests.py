"""Tests of every finder that reads text, and what their files share."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image
from skimage import data

import automask
from automask.export.cli import export

__all__ = ["FinderTests", "coffee", "run_command"]

Array = NDArray[Any]


def coffee() -> Array:
    """Return a photo, (400, 600, 3)."""
    return np.asarray(data.coffee(), np.uint8)


def run_command(model: Path, output: Path, *options: str) -> str:
    """Run the real command in this process; raise its error, or return its output."""
    result = CliRunner().invoke(export, [str(model), "--output", str(output), *options])
    if result.exception is not None:
        raise result.exception
    return result.output


class FinderTests:
    """A test file inherits them, and has the fixtures `segmenter` and `photo`."""

    @pytest.mark.parametrize("shape", [(1, 1), (3000, 4000)])
    def test_images_of_one_pixel_and_of_twelve_megapixels(
        self, segmenter: automask.Segmenter, shape: tuple[int, int]
    ) -> None:
        file = io.BytesIO()
        Image.new("RGB", shape[::-1], (90, 60, 30)).save(file, "JPEG")
        result = segmenter.mask(file.getvalue(), "cup")
        assert result.mask.shape == shape
        for one in result.instances:
            left, top, right, bottom = one.box
            assert 0 <= left < right <= shape[1]
            assert 0 <= top < bottom <= shape[0]

    def test_a_known_photo_and_known_words_are_not_computed_again(
        self, segmenter: automask.Segmenter, photo: Array
    ) -> None:
        segmenter.mask(photo, "cup")
        before = segmenter.cache_info().misses
        segmenter.mask(photo, "cup", threshold=0.3)
        assert segmenter.cache_info().misses == before

    def test_nothing_found(self, segmenter: automask.Segmenter, photo: Array) -> None:
        result = segmenter.mask(photo, "cup, a hat", threshold=1)
        assert result.is_empty
        assert result.instances == ()
        assert result.labels == ("cup", "a hat")
