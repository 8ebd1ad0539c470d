"""Resizing and normalisation on a device: an image is uploaded as bytes, and its tensor is not copied back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from math import ceil
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .devices import DEVICES
from .devices.tuning import Tuning
from .preprocess import OPENCV, PILLOW, Resize, shrinks
from .session import Input, Session

__all__ = ["DATA", "DeviceResize", "read_resize"]

DATA: Final = Path(__file__).parent / "data"
"""Has three graphs, which take ``pixels`` (h, w, 3) uint8, resize them, and normalise them by ``mean`` and ``scale``.
Where rows or columns have no weights, the result is ``fill``.

``front_horizontal.onnx`` resizes by two matrix products: with ``columns`` (w, size), then with ``rows`` (size, h);
``front_vertical.onnx`` in the other order. Between them, values are rounded to multiples of ``step`` and clipped to
``limits``; then rounded, and clipped to 0..255.

``front_linear.onnx`` mixes two neighbours, ``columns`` and ``rows`` (2, size), by ``column_weights`` and
``row_weights`` in units of 1/2048: in the integers of OpenCV, which drops bits between both directions.
"""

_KEPT = 8  # weights for each direction, at most 8 MB each; images of one size need one
_LONGEST = 4096  # pixels of a side: the matrices of longer ones take more memory than the image
_NO_WEIGHTS = {"pillow_nearest"}
_MATRIX = "front_horizontal"
_REACH = 3  # of the widest filter, in pixels of the result
_TRIED = 1024  # sizes of images
_COMPARED = 16  # rows and columns
_UNIT = 2048  # of OpenCV's weights


def read_resize(settings: Mapping[str, Any], session: Session) -> Resize:
    """Return the settings of one entry under ``image`` of a manifest, for the graph that takes the images.

    On a device with its own memory, images are resized there; elsewhere, and with methods that have no weights, on the
    CPU.

    Raises
    ------
    KeyError
        A setting is missing.
    """
    read = Resize.read(settings)
    if not session.memory or read.interpolation not in (OPENCV.keys() | PILLOW.keys()) - _NO_WEIGHTS:
        return read
    return DeviceResize(
        **{one.name: getattr(read, one.name) for one in fields(Resize)}, front=_Front.on(session.device)
    )


class _Front(NamedTuple):
    """The graphs in front of one model on a device, and the weights that they need there.

    They belong to the model, because a device that is lost takes them along, and the model is opened again.

    Attributes
    ----------
    open
        Returns a graph of `DATA`.
    columns, rows
        Return a matrix on the device, as `_padded_weights` does.
    """

    open: Callable[[str], Session]
    columns: Callable[[str, int, int, int], Input]
    rows: Callable[[str, int, int, int], Input]

    @classmethod
    def on(cls, device: str) -> _Front:
        """Return what is needed on a device; each graph is opened and each matrix made once."""
        memory = DEVICES[device].memory
        # On the first device with this memory: TensorRT would build an engine for each size of image.
        name = next(row.name for row in DEVICES.values() if row.memory == memory)

        @lru_cache(None)
        def open_graph(graph: str) -> Session:
            return Session(DATA / f"{graph}.onnx", name, tuning=Tuning(exact=True))

        @lru_cache(_KEPT)
        def columns(method: str, length: int, fitted: int, size: int) -> Input:
            return open_graph(_MATRIX).to_device(_padded_weights(method, length, fitted, size))

        @lru_cache(_KEPT)
        def rows(method: str, length: int, fitted: int, size: int) -> Input:
            return open_graph(_MATRIX).to_device(_padded_weights(method, length, fitted, size).T)

        return cls(open_graph, columns, rows)


@dataclass(frozen=True, slots=True)
class DeviceResize(Resize):
    """As `Resize`, on a device with its own memory: the tensors are `DeviceArray`s. `pad` stays on the CPU.

    Attributes
    ----------
    front
        Runs the graphs of `DATA`.
    """

    front: _Front = field(kw_only=True, repr=False, compare=False)

    def _normalise(self, pixels: NDArray[np.uint8], height: int, width: int) -> Any:  # noqa: ANN401 (an array there)
        if max(pixels.shape) > _LONGEST:
            return super(DeviceResize, self)._normalise(pixels, height, width)
        method = self.interpolation
        if method in OPENCV and shrinks(pixels.shape, height, width):
            method = "area"
        if method == "linear":
            return self._run_linear(pixels, height, width)
        is_pillow = method in PILLOW
        return self._run(
            "front_vertical" if is_pillow and _starts_vertically(method, *pixels.shape[:2], height, width) else _MATRIX,
            pixels,
            columns=self.front.columns(method, pixels.shape[1], width, self.size),
            rows=self.front.rows(method, pixels.shape[0], height, self.size),
            # Pillow rounds between both directions, OpenCV does not.
            step=np.array(1 if is_pillow else 2**-14, np.float32),
            limits=np.array([0, 255] if is_pillow else [-1024, 1024], np.float32),
        )

    def _run_linear(self, pixels: NDArray[np.uint8], height: int, width: int) -> Any:  # noqa: ANN401
        columns, column_weights = _neighbours(pixels.shape[1], width, self.size, clamps=True)
        rows, row_weights = _neighbours(pixels.shape[0], height, self.size, clamps=False)
        weights = {"column_weights": column_weights[..., None], "row_weights": row_weights[..., None, None]}
        return self._run("front_linear", pixels, columns=columns, rows=rows, **weights)

    def _run(self, graph: str, pixels: NDArray[np.uint8], **weights: Input) -> Any:  # noqa: ANN401
        (tensor,) = self.front.open(graph).run_on_device(
            pixels=pixels,
            mean=_channels(self.mean),
            scale=_channels([1 / std for std in self.std]),
            fill=_channels(self._fill()),
            **weights,
        )
        return tensor

    def _fill(self) -> list[float]:
        colours = self.mean if self.padding is None else self.padding
        return [(colour - mean) / std for colour, mean, std in zip(colours, self.mean, self.std, strict=True)]


def _channels(values: Sequence[float]) -> NDArray[np.float32]:
    return np.array(values, np.float32).reshape(3, 1, 1)


def _padded_weights(method: str, length: int, fitted: int, size: int) -> NDArray[np.float32]:
    return np.pad(_weights(method, length, fitted), ((0, 0), (0, size - fitted)))


def _weights(method: str, length: int, fitted: int) -> NDArray[np.float32]:
    """Return what each of `length` pixels of a line adds to each of `fitted` ones: what a library makes of impulses.

    A line has many impulses, further apart than any filter reaches; together, the lines have one at each pixel.
    """
    scale = length / fitted
    period = min(length, 2 * _REACH * ceil(max(1, scale)) + 4)
    impulses = np.zeros((period, length), np.float32)
    impulses[np.arange(length) % period, np.arange(length)] = 1
    answers = _resize_lines(impulses, method, fitted)
    first = ((np.arange(fitted) + 0.5) * scale).astype(int) - period // 2
    pixels = first.clip(0, length - period) + np.arange(period)[:, None]
    weights = np.zeros((length, fitted), np.float32)
    weights[pixels, np.arange(fitted)] = answers[pixels % period, np.arange(fitted)]
    return weights


def _resize_lines(lines: NDArray[np.float32], method: str, fitted: int) -> NDArray[np.float32]:
    """Return lines, (n, length), as (n, fitted)."""
    if method in PILLOW:
        return np.asarray(Image.fromarray(lines).resize((fitted, len(lines)), PILLOW[method]), np.float32)
    interpolation = cv2.INTER_AREA if method == "area" else OPENCV[method]
    return np.asarray(cv2.resize(lines, (fitted, len(lines)), interpolation=interpolation), np.float32)


@lru_cache(_TRIED)
def _starts_vertically(method: str, height: int, width: int, fitted_height: int, fitted_width: int) -> bool:
    """Return whether Pillow resizes images of a size first vertically: from version 13 on, where that is less work.

    It is tried on noise, and a few rows and columns of the result are compared.
    """
    noise = np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)
    at = np.ix_(*(np.linspace(0, side - 1, _COMPARED).astype(int) for side in (fitted_height, fitted_width)))
    expected = np.asarray(Image.fromarray(noise).resize((fitted_width, fitted_height), PILLOW[method]))[at]
    rows = _weights(method, height, fitted_height)[:, at[0].ravel()].T
    columns = _weights(method, width, fitted_width)[:, at[1].ravel()]
    horizontally = _round(rows @ _round(noise @ columns))
    vertically = _round(_round(rows @ noise) @ columns)
    return bool((vertically != expected).sum() < (horizontally != expected).sum())


def _round(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.floor(values + np.float32(0.5)).clip(0, 255), np.float32)


@lru_cache(_KEPT)
def _neighbours(length: int, fitted: int, size: int, *, clamps: bool) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return two neighbours of each of `fitted` pixels among `length` ones, and their weights; both (2, size).

    Parameters
    ----------
    clamps
        Whether the pixel at an edge stands alone. Otherwise it has two weights, whose products are rounded apart.
    """
    at = ((np.arange(fitted) + 0.5) * (1 / (fitted / length)) - 0.5).astype(np.float32)
    first = np.floor(at)
    share = at - first
    if clamps:
        share[(first < 0) | (first >= length - 1)] = 0
    pairs = np.stack((first, first + 1)).clip(0, length - 1)
    weights = np.rint(np.stack((np.float32(1) - share, share)) * np.float32(_UNIT))
    padding = ((0, 0), (0, size - fitted))
    return np.pad(pairs.astype(np.int32), padding), np.pad(weights.astype(np.int32), padding)
