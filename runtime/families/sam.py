"""Drawers: boxes in, one mask into each.

Sources: Segment Anything, arXiv:2304.02643; MobileSAM, arXiv:2306.14289.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle
from ..cache import Arrays, ByteCache
from ..devices import DEVICES
from ..errors import ParameterError
from ..images import read_image
from ..preprocess import Resize
from ..selection import Point, Selection
from ..session import Session
from .family import Picture, Stopwatch

__all__ = ["DRAWERS", "Drawer", "Drawing", "Hint", "Sam", "remove_specks"]

# Of the area of an object's largest part. Nearly all smaller parts are dust and scraps of the background inside the
# box; holes are kept at a much smaller size, because they may be real. Mean IoU on 74 pairs is the same without either
# (within 0.001), but a cut-out shows the difference.
_LEAST_PART, _LEAST_HOLE = 0.1, 0.01

# Labels of points besides 0 and 1: the corners of a box, and the end of a prompt without one.
_UPPER_LEFT, _LOWER_RIGHT, _END = 2, 3, -1

_MARGIN = 0.125  # of the box, on each side of a closer view
_LEAST_AGREEMENT = 0.75  # IoU of both views, below which the closer one saw another object: a part, or what is behind
_LARGEST_GRID = 1024  # cells along the longer side of an image


class Hint(NamedTuple):
    """Where one object is: a box, points, or both, in pixels of the image.

    Attributes
    ----------
    box
        Left, top, right, bottom; or None.
    points
        x, y and 1 inside the object or 0 outside. At least one has label 1 if there is no box.
    """

    box: tuple[float, float, float, float] | None
    points: tuple[Point, ...] = ()


class Drawing(NamedTuple):
    """The mask of one object.

    Attributes
    ----------
    logits
        (h, w) float32 over the whole image, at the drawer's own resolution; positive inside.
    iou
        The IoU with the object that the drawer predicts for its mask, 0..1.
    """

    logits: NDArray[np.float32]
    iou: float


class Drawer(Protocol):
    """Draws masks; parameters and errors of the constructor as for `Family`."""

    def __init__(self, bundle: Bundle, sessions: dict[str, Session], cache: ByteCache[Arrays]) -> None: ...

    @staticmethod
    def check(bundle: Bundle, selection: Selection) -> None:
        """Raise `ParameterError` if the drawer of a bundle cannot use the box or the points of a selection."""

    @property
    def device(self) -> str:
        """The device on which the graphs run: a name of the table of devices."""

    def draw(self, picture: Picture, boxes: NDArray[np.float32], watch: Stopwatch) -> list[NDArray[np.float32]]:
        """Return the mask of the object in each box.

        Parameters
        ----------
        picture
            The image.
        boxes
            (n, 4) float32, n ≥ 1: left, top, right, bottom in pixels of the image.
        watch
            Measures the stages.

        Returns
        -------
        For each box (h, w) float32: logits over the whole image, at the drawer's own resolution; positive inside.
        """

    def draw_hints(self, picture: Picture, hints: Sequence[Hint], watch: Stopwatch) -> list[Drawing]:
        """Return the mask of the object of each of n ≥ 1 hints."""

    def redraw(
        self,
        picture: Picture,
        hint: Hint,
        logits: NDArray[np.float32],
        watch: Stopwatch,
    ) -> NDArray[np.float32]:
        """Return a mask drawn again from a view of its box alone, averaged with the first one.

        Parameters
        ----------
        picture
            The image.
        hint
            Where the object is; it has a box.
        logits
            (h, w) float32, as `draw_hints` returned it for this hint.
        watch
            Measures the stages.

        Returns
        -------
        (h, w) float32: logits over the whole image, at a higher resolution; positive inside.
        """


class Sam:
    """The graphs `image_encoder` and `mask_decoder` of a Segment Anything model; the encoding of an image is cached."""

    def __init__(self, bundle: Bundle, sessions: dict[str, Session], cache: ByteCache[Arrays]) -> None:
        self._encoder, self._decoder = sessions["image_encoder"], sessions["mask_decoder"]
        self._cache = cache
        settings = bundle.image["image_encoder"]
        self._resize = Resize.read(settings)
        self._mask_stride: int = settings["mask_stride"]
        size, mask_size = self._resize.size, self._resize.size // self._mask_stride
        bundle.require("image_encoder", inputs={"image": (None, 3, size, size)}, outputs={"image_embedding": None})
        self._takes_points = _takes_points(bundle)
        prompts = {"points": (None, None, 2), "labels": (None, None)} if self._takes_points else {"boxes": (None, 4)}
        bundle.require(
            "mask_decoder",
            inputs={"image_embedding": None, **prompts},
            outputs={"logits": (None, mask_size, mask_size), "iou": (None,)},
        )

    @staticmethod
    def check(bundle: Bundle, selection: Selection) -> None:
        """Raise `ParameterError` for points where the decoder of a bundle takes boxes only."""
        if selection.points and not _takes_points(bundle):
            raise ParameterError(
                "points",
                f"be empty for {bundle.name!r}, whose mask decoder takes boxes only; export the bundle again",
                len(selection.points),
            )

    @property
    def device(self) -> str:
        """The device on which the graphs run."""
        return self._encoder.device

    def draw(self, picture: Picture, boxes: NDArray[np.float32], watch: Stopwatch) -> list[NDArray[np.float32]]:
        """Return the mask of the object in each box, without specks; see `Drawer.draw`."""
        hints = [Hint((left, top, right, bottom)) for left, top, right, bottom in boxes.tolist()]
        return [drawing.logits for drawing in self.draw_hints(picture, hints, watch)]

    def draw_hints(self, picture: Picture, hints: Sequence[Hint], watch: Stopwatch) -> list[Drawing]:
        """Return the mask of the object of each hint, without specks; see `Drawer.draw_hints`."""
        with watch.stage("encode"):
            (embedding,) = self._cache.get((picture.key, "embedding"), lambda: self._encode(picture))
        height, width = picture.size
        fitted = self._resize.fitted_size(height, width)
        to_square = np.array([fitted[1] / width, fitted[0] / height], np.float32)
        rows, columns = (side // self._mask_stride for side in fitted)
        with watch.stage("masks"):
            prompts = [_lay_out(hint, to_square) for hint in hints]
            decoded = self._decode(embedding, prompts)
        return [
            Drawing(
                remove_specks(logits[:rows, :columns], points / np.float32(self._mask_stride), labels),
                float(np.clip(iou, 0, 1)),
            )
            for (points, labels), (logits, iou) in zip(prompts, decoded, strict=True)
        ]

    def redraw(
        self,
        picture: Picture,
        hint: Hint,
        logits: NDArray[np.float32],
        watch: Stopwatch,
    ) -> NDArray[np.float32]:
        """Return a mask drawn again from a closer view, without specks; see `Drawer.redraw`."""
        assert hint.box is not None, "the view is around the box"  # noqa: S101
        view = _View.around(hint.box, picture.size, self._resize.size // self._mask_stride)
        with watch.stage("encode"):
            key = (picture.key, "view", *view.rows, *view.columns)
            (embedding,) = self._cache.get(key, lambda: self._encode_pixels(*self._crop(picture, view)))
        height, width = view.size
        fitted = self._resize.fitted_size(height, width)
        to_square = np.array([fitted[1] / width, fitted[0] / height], np.float32)
        with watch.stage("masks"):
            ((closer, _),) = self._decode(embedding, [_lay_out(view.move(hint), to_square)])
        rows, columns = (side // self._mask_stride for side in fitted)
        return remove_specks(view.average(logits, closer[:rows, :columns]))

    def _crop(self, picture: Picture, view: _View) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """Return the pixels of a view and its size; a reduced copy serves where the encoder would reduce it further."""
        pixels = picture.pixels
        scale = pixels.shape[0] / picture.size[0]
        if scale < 1 and max(view.size) * scale < self._resize.size:
            pixels, scale = read_image(picture.photo, max_pixels=picture.size[0] * picture.size[1]), 1.0
        rows, columns = (slice(round(side[0] * scale), round(side[1] * scale)) for side in (view.rows, view.columns))
        return pixels[rows, columns], view.size

    def _encode(self, picture: Picture) -> Arrays:
        return self._encode_pixels(picture.pixels, picture.size)

    def _encode_pixels(self, pixels: NDArray[np.uint8], size: tuple[int, int]) -> Arrays:
        return self._encoder.run(image=self._resize.fit(pixels, size))

    def _decode(self, embedding: NDArray[np.float32], prompts: Sequence[_Prompt]) -> list[Arrays]:
        """Return logits (h, w) and predicted IoU of each prompt; one call takes prompts of one number of points."""
        by_length: defaultdict[int, list[int]] = defaultdict(list)
        for index, (_, labels) in enumerate(prompts):
            by_length[len(labels)].append(index)
        decoded: dict[int, Arrays] = {}
        for indices in by_length.values():
            step = len(indices) if DEVICES[self.device].batches_boxes else 1
            for start in range(0, len(indices), step):
                part = indices[start : start + step]
                points, labels = (np.stack(arrays) for arrays in zip(*(prompts[index] for index in part), strict=True))
                decoded.update(zip(part, zip(*self._run(embedding, points, labels), strict=True), strict=True))
        return [decoded[index] for index in range(len(prompts))]

    def _run(self, embedding: NDArray[np.float32], points: NDArray[np.float32], labels: NDArray[np.int64]) -> Arrays:
        if not self._takes_points:
            return self._decoder.run(image_embedding=embedding, boxes=points.reshape(-1, 4))
        return self._decoder.run(image_embedding=embedding, points=points, labels=labels)


class _View(NamedTuple):
    """A part of an image, and the cells that it covers in a grid over the whole image.

    Attributes
    ----------
    rows, columns
        First and one-past-last pixel.
    grid
        Rows and columns of the grid.
    cells
        First and one-past-last row of cells, then column.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    grid: tuple[int, int]
    cells: tuple[tuple[int, int], tuple[int, int]]

    @classmethod
    def around(cls, box: tuple[float, float, float, float], size: tuple[int, int], resolution: int) -> _View:
        """Return the view of a box and a margin around it; its longer side has `resolution` cells, if it can."""
        left, top, right, bottom = box
        margins = _MARGIN * (bottom - top), _MARGIN * (right - left)
        wide = ((top - margins[0], bottom + margins[0]), (left - margins[1], right + margins[1]))
        sides = [(max(0, start), min(length, stop)) for (start, stop), length in zip(wide, size, strict=True)]
        density = resolution / max(1, *(stop - start for start, stop in sides))
        density = min(density, _LARGEST_GRID / max(size))
        grid = max(1, round(size[0] * density)), max(1, round(size[1] * density))
        cells, pixels = [], []
        for (start, stop), count, length in zip(sides, grid, size, strict=True):
            first, last = int(start * count / length), min(count, -int(-stop * count // length))
            cells.append((first, last))
            pixels.append((round(first * length / count), round(last * length / count)))
        return cls(pixels[0], pixels[1], grid, (cells[0], cells[1]))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]

    def move(self, hint: Hint) -> Hint:
        """Return a hint in the frame of the view, without the points outside it."""
        (top, bottom), (left, right) = self.rows, self.columns
        box = hint.box and (hint.box[0] - left, hint.box[1] - top, hint.box[2] - left, hint.box[3] - top)
        inside = (point for point in hint.points if left <= point[0] <= right and top <= point[1] <= bottom)
        return Hint(box, tuple((x - left, y - top, label) for x, y, label in inside))

    def average(self, logits: NDArray[np.float32], closer: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return logits over the whole grid: inside the view, the mean of those of the image and those of the view."""
        full = np.array(cv2.resize(logits, self.grid[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
        (top, bottom), (left, right) = self.cells
        part = full[top:bottom, left:right]
        mean = 0.5 * (part + cv2.resize(closer, part.shape[::-1], interpolation=cv2.INTER_LINEAR))
        before, after = part > 0, mean > 0
        if (before & after).sum() >= _LEAST_AGREEMENT * (before | after).sum():
            part[:] = mean
        return full


DRAWERS: Final[Mapping[str, type[Drawer]]] = {"sam": Sam}
"""Drawers by the name that a manifest gives; see `automask.families.boxes`."""


_Prompt = tuple[NDArray[np.float32], NDArray[np.int64]]  # points (p, 2) in pixels of the square, labels (p,)


def _takes_points(bundle: Bundle) -> bool:
    """Return whether the decoder takes points; bundles made before it did have the input `boxes` instead."""
    return "boxes" not in bundle.graphs["mask_decoder"].inputs


def _lay_out(hint: Hint, to_square: NDArray[np.float32]) -> _Prompt:
    """Return a hint as the decoder takes it: the points, then the corners of the box, or the end where there is none.

    SAM was trained on this layout; an end after a box, or a second one, changes the mask.
    """
    points, labels = [(x, y) for x, y, _ in hint.points], [label for _, _, label in hint.points]
    if hint.box is None:
        points, labels = [*points, (0.0, 0.0)], [*labels, _END]
    else:
        left, top, right, bottom = hint.box
        points, labels = [*points, (left, top), (right, bottom)], [*labels, _UPPER_LEFT, _LOWER_RIGHT]
    return np.array(points, np.float32) * to_square, np.array(labels, np.int64)


def remove_specks(
    logits: NDArray[np.float32],
    points: NDArray[np.float32] | None = None,
    labels: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """Remove the small parts of a mask, then fill its pinholes, as SAM's own tool does.

    Parameters
    ----------
    logits
        (h, w) float32, positive inside. Parts below 10 % of the area of the largest one are removed, holes below 1 %
        are filled.
    points, labels
        (p, 2) float32: x and y in the frame of the logits; (p,) int64. A part with a point of label 1, or a hole with a
        point of label 0, stays as it is.

    Returns
    -------
    A new array of the same shape; the logits of what was removed or filled have changed their sign.
    """
    clean = logits.copy()
    largest = 0
    for sign, least in ((1, _LEAST_PART), (-1, _LEAST_HOLE)):
        _, parts, facts, _ = cv2.connectedComponentsWithStats((sign * clean > 0).astype(np.uint8), connectivity=4)
        areas = np.asarray(facts)[:, cv2.CC_STAT_AREA]
        largest = largest or max(areas[1:], default=0)
        small = areas < least * largest
        small[0] = False  # component 0 is everything of the other sign
        if points is not None:
            small[_components_at(np.asarray(parts), points[labels == max(sign, 0)])] = False
        np.negative(clean, out=clean, where=small[parts])
    return clean


def _components_at(parts: NDArray[Any], points: NDArray[np.float32]) -> NDArray[Any]:
    """Return the component at each point (x, y)."""
    last = np.array(parts.shape[::-1]) - 1
    columns, rows = np.clip(points.astype(int), 0, last).T
    return np.asarray(parts[rows, columns])
