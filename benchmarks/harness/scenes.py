"""Composited photos whose alpha is known: one photo over another one with a soft shape, the same on each machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .machine import ROOT

Pixels = NDArray[np.uint8]

_GRID = 128  # cells along the longer side of a mask as the embedded model draws it


class Scene(NamedTuple):
    """A photo, how opaque the object in it is, and its mask as a model would draw it.

    Attributes
    ----------
    image
        (H, W, 3) uint8, RGB.
    alpha
        (H, W) float32, 0..1: the truth.
    mask
        (H, W) uint8, 0 or 255.
    """

    image: Pixels
    alpha: NDArray[np.float32]
    mask: Pixels


def scenes(width: int, height: int) -> dict[str, Scene]:
    """Return one scene for each shape: out of focus, with hair, and in motion."""
    front, back = (_photo(name, width, height) for name in ("astronaut.jpg", "coffee.jpg"))
    return {name: _composite(front, back, draw(width, height)) for name, draw in _SHAPES.items()}


def _photo(name: str, width: int, height: int) -> NDArray[np.float32]:
    with Image.open(ROOT / "examples" / name) as source:
        return np.asarray(source.convert("RGB").resize((width, height)), np.float32)


def _composite(front: NDArray[np.float32], back: NDArray[np.float32], alpha: NDArray[np.float32]) -> Scene:
    height, width = alpha.shape
    image = (alpha[..., np.newaxis] * front + (1 - alpha[..., np.newaxis]) * back + 0.5).astype(np.uint8)
    scale = _GRID / max(width, height)
    coarse = cv2.resize(alpha, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    drawn = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR))
    return Scene(image, alpha, np.where(drawn >= 0.5, np.uint8(255), np.uint8(0)))


def _opacity(canvas: cv2.typing.MatLike) -> NDArray[np.float32]:
    return np.asarray(canvas, np.float32) * np.float32(1 / 255)


def _disc(width: int, height: int) -> Pixels:
    canvas = np.zeros((height, width), np.uint8)
    cv2.circle(canvas, (width // 2, height // 2), height // 3, 255, -1, cv2.LINE_AA)
    return canvas


def _out_of_focus(width: int, height: int) -> NDArray[np.float32]:
    return _opacity(cv2.GaussianBlur(_disc(width, height), (0, 0), height / 160))


def _with_hair(width: int, height: int) -> NDArray[np.float32]:
    canvas, rng = _disc(width, height), np.random.default_rng(0)
    for angle in rng.uniform(0, 2 * np.pi, 400):
        along = np.array([np.cos(angle), np.sin(angle)]) * height / 3
        bend = rng.normal(0, height / 100, 2)
        root, tip = np.array([width, height]) / 2 + 0.98 * along, np.array([width, height]) / 2 + 1.06 * along + bend
        cv2.line(canvas, root.astype(int).tolist(), tip.astype(int).tolist(), 255, 1, cv2.LINE_AA)
    return _opacity(cv2.GaussianBlur(canvas, (0, 0), 0.7))


def _in_motion(width: int, height: int) -> NDArray[np.float32]:
    return _opacity(cv2.blur(_disc(width, height), (max(1, width // 40), 1)))


_SHAPES: dict[str, Callable[[int, int], NDArray[np.float32]]] = {
    "out of focus": _out_of_focus,
    "hair": _with_hair,
    "motion": _in_motion,
}
