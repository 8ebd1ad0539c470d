"""Preprocessing: images as the float tensors that image encoders and detectors take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["OPENCV", "PILLOW", "Resize", "shrinks"]

OPENCV: Final = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}
PILLOW: Final = {f"pillow_{method.name.lower()}": method for method in Image.Resampling}


@dataclass(frozen=True, slots=True)
class Resize:
    """Resizing into a square, and normalisation, as the manifest of a bundle describes them.

    Attributes
    ----------
    size
        Side of the square in pixels.
    interpolation
        ``linear`` or ``cubic`` as in OpenCV (below half the size, areas are averaged instead, against aliasing), or
        ``pillow_bilinear``, ``pillow_bicubic``, … as in Pillow, or ``scikit_image``, which `pad` alone knows: a
        Gaussian filter against aliasing, then linear, in floating point, as in scikit-image.
    mean, std
        By channel (RGB), in units of 0..255.
    multiple
        `fit` makes both sides a multiple of this, in pixels.
    keeps_proportions
        Whether `apply` fits the image into the square instead of stretching it.
    padding
        Colour (RGB, 0..255) of the rest of the square; None for the mean, which is 0 after normalisation.
    """

    size: int
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    multiple: int
    keeps_proportions: bool = False
    padding: tuple[float, ...] | None = None

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> Resize:
        """Return the settings of one entry under ``image`` of a manifest; raises KeyError if one is missing."""
        return cls(
            size=settings["size"],
            interpolation=settings["interpolation"],
            mean=tuple(settings["mean"]),
            std=tuple(settings["std"]),
            multiple=settings.get("multiple", settings.get("mask_stride", 1)),
            keeps_proportions=settings.get("resize") == "longest_side",
            padding=tuple(settings["padding"]) if "padding" in settings else None,
        )

    def apply(self, pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
        """Return pixels stretched or fitted, as the manifest says; parameters and result as for `fit`."""
        return self.fit(pixels, size) if self.keeps_proportions else self.stretch(pixels)

    def covered(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the height and width, in pixels, of the part of the square that `apply` fills."""
        return self.fitted_size(*size) if self.keeps_proportions else (self.size, self.size)

    def stretch(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return pixels that fill the square, whatever their proportions: (h, w, 3) uint8 to (1, 3, size, size)."""
        return self._normalise(pixels, self.size, self.size)

    def fit(self, pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
        """Return pixels with their proportions, at the top left of the square; the rest is padding.

        Parameters
        ----------
        pixels
            (h, w, 3) uint8; may be fewer than the image has.
        size
            Height and width of the image itself, in pixels: its proportions are kept.

        Returns
        -------
        (1, 3, size, size) float32.
        """
        height, width = self.fitted_size(*size)
        return self._normalise(pixels, height, width)

    def inside(self, size: tuple[int, int], shape: tuple[int, ...]) -> tuple[int, int]:
        """Return the height and width of the part of a result that is not padding.

        Parameters
        ----------
        size
            Height and width of the image, in pixels.
        shape
            Height and width of the result, which covers the whole square.
        """
        height, width = (
            max(1, round(side * covered / self.size)) for side, covered in zip(shape, self.covered(size), strict=True)
        )
        return height, width

    def pad(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return pixels as the top left of a padded square, which is then resized, as OWLv2 takes them.

        (h, w, 3) uint8 to (1, 3, size, size).
        """
        height, width, _ = pixels.shape
        tensor = np.empty((1, 3, self.size, self.size), np.float32)
        colours = zip(self.mean, self.std, self.padding or self.mean, strict=True)
        for channel, (mean, std, colour) in enumerate(colours):
            plane = np.full((max(height, width),) * 2, colour, np.float32)
            plane[:height, :width] = pixels[..., channel]
            tensor[0, channel] = (_resize_smoothly(plane, self.size) - np.float32(mean)) / np.float32(std)
        return tensor

    def fitted_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width, in pixels, of an image of this height and width inside the square."""
        scale = self.size / max(height, width) / self.multiple
        return max(1, round(height * scale)) * self.multiple, max(1, round(width * scale)) * self.multiple

    def _resize(self, pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
        if self.interpolation in PILLOW:
            return np.asarray(Image.fromarray(pixels).resize((width, height), PILLOW[self.interpolation]))
        interpolation = cv2.INTER_AREA if shrinks(pixels.shape, height, width) else OPENCV[self.interpolation]
        return np.asarray(cv2.resize(pixels, (width, height), interpolation=interpolation), np.uint8)

    def _normalise(self, pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float32]:
        resized = self._resize(pixels, height, width)
        tensor = np.zeros((1, 3, self.size, self.size), np.float32)
        for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            if self.padding is not None:
                tensor[0, channel] = (self.padding[channel] - mean) / std
            part = tensor[0, channel, :height, :width]
            np.subtract(resized[..., channel], np.float32(mean), out=part)
            part *= np.float32(1 / std)
        return tensor


def shrinks(shape: tuple[int, ...], height: int, width: int) -> bool:
    """Return whether pixels of a shape become less than half as many in both directions: OpenCV averages areas then."""
    return shape[0] > 2 * height and shape[1] > 2 * width


def _resize_smoothly(plane: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Return a square plane, (n, n), as (size, size): the default of scikit-image's `resize`, with mirrored edges."""
    sigma = (len(plane) / size - 1) / 2
    if sigma > 0:
        kernel = cv2.getGaussianKernel(2 * int(4 * sigma + 0.5) + 1, sigma)
        plane = np.asarray(cv2.sepFilter2D(plane, -1, kernel, kernel, borderType=cv2.BORDER_REFLECT_101), np.float32)
    return _interpolate(_interpolate(plane, size).T, size).T


def _interpolate(plane: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Return (size, n) rows interpolated between those of a plane, (m, n); OpenCV would not mirror the edges."""
    last = len(plane) - 1
    at = (np.arange(size) + 0.5) * len(plane) / size - 0.5
    above = np.floor(at)
    share = (at - above).astype(np.float32)[:, None]
    upper, lower = (np.abs(last - np.abs(last - rows)).clip(0, last).astype(int) for rows in (above, above + 1))
    return np.asarray(plane[upper] * (1 - share) + plane[lower] * share, np.float32)
