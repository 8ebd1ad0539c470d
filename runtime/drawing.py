"""From a prediction to its mask and its soft edge, at the size of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from . import postprocess
from .families.family import Picture, Prediction
from .fragments import remove_fragments
from .matting import edge_radius, feather, inside, matte, refine
from .parameters import Parameters

__all__ = ["Outline", "cut", "draw", "finish"]


class Outline(NamedTuple):
    """A mask, and how opaque each pixel is.

    Attributes
    ----------
    mask
        (H, W) uint8, 0 or 255.
    opacity
        (H, W) uint8, 0..255; None: the same as the mask.
    """

    mask: NDArray[np.uint8]
    opacity: NDArray[np.uint8] | None = None


def draw(picture: Picture, prediction: Prediction, parameters: Parameters) -> Outline:
    """Draw what was found, with the edges that the parameters ask for, before growing.

    The edges follow the pixels that the model saw: of a large image they may be a reduced copy, and the outline between
    them is interpolated.
    """
    if parameters.edges == "model":
        return Outline(_union(prediction, picture.size, parameters.threshold))
    pixels, is_soft = picture.pixels, parameters.alpha == "soft"
    mask = _union(prediction, (pixels.shape[0], pixels.shape[1]), parameters.threshold)
    filtered = (matte if is_soft else refine)(mask, pixels, edge_radius(*mask.shape))
    remove_fragments(filtered, mask)
    if mask.shape != picture.size:
        filtered = _resize(filtered, picture.size, cv2.INTER_LINEAR)
    return Outline(inside(filtered), filtered) if is_soft else Outline(inside(filtered, out=filtered))


def finish(outline: Outline, parameters: Parameters) -> Outline:
    """Grow, and add the ramp."""
    mask, opacity = postprocess.grow(outline.mask, parameters.grow_mask), outline.opacity
    if opacity is not None and parameters.grow_mask:
        opacity = np.maximum(opacity, mask)
    if parameters.feather:
        ramp = feather(mask, parameters.feather)
        opacity = ramp if opacity is None else np.maximum(opacity, ramp)
    return Outline(mask, opacity)


def cut(outline: Outline, excluded: Sequence[NDArray[np.uint8]], *, invert: bool) -> Outline:
    """Subtract the masks that are excluded, which are not grown, and invert."""
    mask, opacity = outline
    for other in excluded:
        mask = postprocess.subtract(mask, other)
        opacity = None if opacity is None else postprocess.subtract(opacity, other)
    if invert:
        mask, opacity = postprocess.invert(mask), None if opacity is None else postprocess.invert(opacity)
    return Outline(mask, opacity)


def _union(prediction: Prediction, size: tuple[int, int], threshold: float) -> NDArray[np.uint8]:
    """Return the mask as the model drew it: (H, W) uint8, 0 or 255, of `size`, which may be less than the image's."""
    if prediction.score_map is not None and not prediction.by_instances:
        mask = postprocess.threshold(prediction.score_map, threshold)
        return mask if mask.shape == size else inside(_resize(mask, size, cv2.INTER_AREA))
    canvas = np.zeros(size, np.uint8)
    for instance in prediction.instances:
        replace(instance, size=size).paint(canvas)
    return canvas


def _resize(plane: NDArray[np.uint8], shape: tuple[int, int], interpolation: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(plane, (shape[1], shape[0]), interpolation=interpolation), np.uint8)
