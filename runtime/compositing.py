"""Cut-outs on another background: a colour, an image, or the photo itself, blurred.

Pure functions on arrays. A *cut-out* is (H, W, 4) uint8, RGBA; an *image* is (H, W, 3) uint8, RGB.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import ParameterError

__all__ = ["blur", "cover", "over", "trim"]

_BLUR_PER_SIDE = 0.02  # radius of a background blur, of the longer side


def over(cutout: NDArray[np.uint8], background: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay a cut-out over a background.

    Parameters
    ----------
    cutout
        (H, W, 4) uint8, RGBA, alpha not premultiplied.
    background
        (H, W, 3) uint8, or anything that broadcasts to it, such as one colour (3,).

    Returns
    -------
    (H, W, 3) uint8, RGB: ``alpha * colour + (1 - alpha) * background``, rounded.

    Raises
    ------
    ParameterError
        `cutout` is not (H, W, 4), or `background` does not broadcast to (H, W, 3).

    Examples
    --------
    >>> over(np.array([[[200, 100, 0, 255], [200, 100, 0, 0]]], np.uint8), np.array([7, 8, 9], np.uint8)).tolist()
    [[[200, 100, 0], [7, 8, 9]]]
    """
    if cutout.ndim != 3 or cutout.shape[2] != 4:
        raise ParameterError("cutout", "have the shape (H, W, 4)", cutout.shape)
    shape = (*cutout.shape[:2], 3)
    try:
        below = np.broadcast_to(background, shape).astype(np.uint32)
    except ValueError:
        raise ParameterError("background", f"have the shape {shape}, or be one colour", background.shape) from None
    colours, alpha = cutout[..., :3].astype(np.uint32), cutout[..., 3:].astype(np.uint32)
    return ((alpha * colours + (255 - alpha) * below + 127) // 255).astype(np.uint8)


def trim(cutout: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut off the rows and columns around a cut-out that are wholly transparent.

    Returns
    -------
    A view of the part that is not, at least one pixel; the whole cut-out if all of it is transparent.

    Examples
    --------
    >>> one = np.zeros((5, 6, 4), np.uint8)
    >>> one[2, 3:5, 3] = 255
    >>> trim(one).shape
    (1, 2, 4)
    """
    visible = cutout[..., 3] > 0
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    if rows.size == 0:
        return cutout
    return cutout[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def blur(image: NDArray[np.uint8], cutout: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Blur a photo as a background for its own cut-out, without the object's colours running into it.

    Parameters
    ----------
    image
        (H, W, 3) uint8, RGB.
    cutout
        (H, W, 4) uint8: what is opaque in it does not count.

    Returns
    -------
    (H, W, 3) uint8, RGB.
    """
    weight = (255 - cutout[..., 3:]).astype(np.float32) / 255 + np.float32(1e-3)
    sigma = max(1.0, _BLUR_PER_SIDE * max(image.shape[:2]))
    size = (0, 0)
    colours = cv2.GaussianBlur(image.astype(np.float32) * weight, size, sigma)
    weights = np.asarray(cv2.GaussianBlur(weight, size, sigma), np.float32)[..., np.newaxis]
    blurred: NDArray[np.uint8] = np.clip(colours / weights + 0.5, 0, 255).astype(np.uint8)
    return blurred


def cover(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Scale an image until it covers a size, height and width in pixels, and cut off what is over, evenly.

    Examples
    --------
    >>> cover(np.zeros((10, 30, 3), np.uint8), (20, 20)).shape
    (20, 20, 3)
    """
    scale = max(side / length for side, length in zip(size, image.shape[:2], strict=True))
    height, width = (max(side, round(length * scale)) for side, length in zip(size, image.shape[:2], strict=True))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    scaled: NDArray[np.uint8] = np.asarray(cv2.resize(image, (width, height), interpolation=interpolation), np.uint8)
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    return scaled[top : top + size[0], left : left + size[1]]
