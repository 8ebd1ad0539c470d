"""Segment Anything: an image encoder, and a mask decoder for boxes and points.

Sources: Segment Anything, arXiv:2304.02643; MobileSAM, arXiv:2306.14289; SAM-HQ, arXiv:2306.01567; SAM 2,
arXiv:2408.00714; EdgeTAM, arXiv:2501.07256.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...bundle import Bundle
from ...cache import Arrays, ByteCache
from ...device_resize import read_resize
from ...devices import DEVICES
from ...errors import ParameterError
from ...images import read_image
from ...selection import Selection
from ...session import Session
from ..family import Picture, Stopwatch
from .border import reach_borders
from .drawer import Drawing, Hint
from .specks import remove_specks
from .view import View

__all__ = ["Sam", "Sam2"]

# Labels of points besides 0 and 1: the corners of a box, and the end of a prompt.
_UPPER_LEFT, _LOWER_RIGHT, _END = 2, 3, -1


class Sam:
    """SAM, SAM-HQ and MobileSAM: the graphs `image_encoder` and `mask_decoder`; the encoding of an image is cached.

    The decoder takes every output of the encoder under the same name, `image_embedding` among them.

    Attributes
    ----------
    ends_boxes
        Whether a prompt with a box ends as one without: the model was trained so, or without it.
    """

    ends_boxes: ClassVar[bool] = False

    def __init__(self, bundle: Bundle, sessions: dict[str, Session], cache: ByteCache[Arrays]) -> None:
        self._encoder, self._decoder = sessions["image_encoder"], sessions["mask_decoder"]
        self._cache = cache
        settings = bundle.image["image_encoder"]
        self._resize = read_resize(settings, self._encoder)
        self._stretches = settings.get("resize") == "stretch"
        self._mask_stride: int = settings["mask_stride"]
        size, mask_size = self._resize.size, self._resize.size // self._mask_stride
        bundle.require("image_encoder", inputs={"image": (None, 3, size, size)}, outputs={"image_embedding": None})
        embeddings = dict.fromkeys(bundle.graphs["image_encoder"].outputs)
        self._takes_points = _takes_points(bundle)
        prompts = {"points": (None, None, 2), "labels": (None, None)} if self._takes_points else {"boxes": (None, 4)}
        bundle.require(
            "mask_decoder",
            inputs={**embeddings, **prompts},
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
        return [
            Drawing(
                remove_specks(
                    self._reach_borders(drawing.logits, hint, picture.size),
                    points / np.float32(self._mask_stride),
                    labels,
                ),
                drawing.iou,
            )
            for hint, (drawing, (points, labels)) in zip(hints, self._draw(picture, hints, watch), strict=True)
        ]

    def draw_with_specks(self, picture: Picture, hints: Sequence[Hint], watch: Stopwatch) -> list[Drawing]:
        """Return the masks as the decoder computes them; see `Drawer.draw_hints`."""
        return [drawing for drawing, _ in self._draw(picture, hints, watch)]

    def _draw(self, picture: Picture, hints: Sequence[Hint], watch: Stopwatch) -> list[tuple[Drawing, _Prompt]]:
        with watch.stage("encode"):
            embeddings = self._cache.get((picture.key, "embedding"), lambda: self._encode(picture.pixels, picture.size))
        with watch.stage("masks"):
            prompts = [self._lay_out(hint, picture.size) for hint in hints]
            decoded = self._decode(embeddings, prompts)
        rows, columns = self._cells(picture.size)
        return [
            (Drawing(logits[:rows, :columns], float(np.clip(iou, 0, 1))), prompt)
            for prompt, (logits, iou) in zip(prompts, decoded, strict=True)
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
        view = View.around(hint.box, picture.size, self._resize.size // self._mask_stride)
        with watch.stage("encode"):
            key = (picture.key, "view", *view.rows, *view.columns)
            embeddings = self._cache.get(key, lambda: self._encode(*self._crop(picture, view)))
        with watch.stage("masks"):
            moved = view.move(hint)
            ((closer, _),) = self._decode(embeddings, [self._lay_out(moved, view.size)])
        rows, columns = self._cells(view.size)
        return remove_specks(view.average(logits, self._reach_borders(closer[:rows, :columns], moved, view.size)))

    def _crop(self, picture: Picture, view: View) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """Return the pixels of a view and its size; a reduced copy serves where the encoder would reduce it further."""
        pixels = picture.pixels
        scale = pixels.shape[0] / picture.size[0]
        if scale < 1 and max(view.size) * scale < self._resize.size:
            pixels, scale = read_image(picture.photo, max_pixels=picture.size[0] * picture.size[1]), 1.0
        rows, columns = (slice(round(side[0] * scale), round(side[1] * scale)) for side in (view.rows, view.columns))
        return pixels[rows, columns], view.size

    def _encode(self, pixels: NDArray[np.uint8], size: tuple[int, int]) -> Arrays:
        """Return the embeddings of an image, or of a view of this size, in the order of the encoder's outputs."""
        return self._encoder.run_on_device(
            image=self._resize.stretch(pixels) if self._stretches else self._resize.fit(pixels, size)
        )

    def _fitted_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the height and width, in pixels of the square, of an image of this size."""
        return (self._resize.size, self._resize.size) if self._stretches else self._resize.fitted_size(*size)

    def _reach_borders(self, logits: NDArray[np.float32], hint: Hint, size: tuple[int, int]) -> NDArray[np.float32]:
        height, width = self._fitted_size(size)
        return reach_borders(logits, hint.box, size, (height < self._resize.size, width < self._resize.size))

    def _cells(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the rows and columns of a mask that an image of this size covers."""
        height, width = self._fitted_size(size)
        return height // self._mask_stride, width // self._mask_stride

    def _lay_out(self, hint: Hint, size: tuple[int, int]) -> _Prompt:
        """Return a hint in an image of this size as the decoder takes it: the points, the corners of the box, the end.

        The end is left out where the models were trained without it; a missing or a second one changes the mask.
        """
        points, labels = [(x, y) for x, y, _ in hint.points], [label for _, _, label in hint.points]
        if hint.box is not None:
            left, top, right, bottom = hint.box
            points, labels = [*points, (left, top), (right, bottom)], [*labels, _UPPER_LEFT, _LOWER_RIGHT]
        if hint.box is None or self.ends_boxes:
            points, labels = [*points, (0.0, 0.0)], [*labels, _END]
        height, width = self._fitted_size(size)
        to_square = np.array([width / size[1], height / size[0]], np.float32)
        return np.array(points, np.float32) * to_square, np.array(labels, np.int64)

    def _decode(self, embeddings: Arrays, prompts: Sequence[_Prompt]) -> list[Arrays]:
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
                decoded.update(zip(part, zip(*self._run(embeddings, points, labels), strict=True), strict=True))
        return [decoded[index] for index in range(len(prompts))]

    def _run(self, embeddings: Arrays, points: NDArray[np.float32], labels: NDArray[np.int64]) -> Arrays:
        named = dict(zip(self._encoder.outputs, embeddings, strict=True))
        if not self._takes_points:
            return self._decoder.run(**named, boxes=points.reshape(-1, 4))
        return self._decoder.run(**named, points=points, labels=labels)


class Sam2(Sam):
    """SAM 2 and EdgeTAM: as `Sam`, with an end after a box too; their images are stretched to the square."""

    ends_boxes = True


_Prompt = tuple[NDArray[np.float32], NDArray[np.int64]]  # points (p, 2) in pixels of the square, labels (p,)


def _takes_points(bundle: Bundle) -> bool:
    """Return whether the decoder takes points; bundles made before it did have the input `boxes` instead."""
    return "boxes" not in bundle.graphs["mask_decoder"].inputs
