"""Drawers: boxes in, one mask into each.

Sources: Segment Anything, arXiv:2304.02643; MobileSAM, arXiv:2306.14289.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle
from ..cache import Arrays, ByteCache
from ..devices import DEVICES
from ..preprocess import Resize
from ..session import Session
from .family import Picture, Stopwatch

__all__ = ["DRAWERS", "Drawer", "Sam", "remove_specks"]

# Of the area of an object's largest part. Nearly all smaller parts are dust and scraps of the background inside the
# box; holes are kept at a much smaller size, because they may be real. Mean IoU on 74 pairs is the same without either
# (within 0.001), but a cut-out shows the difference.
_LEAST_PART, _LEAST_HOLE = 0.1, 0.01


class Drawer(Protocol):
    """Draws masks; parameters and errors of the constructor as for `Family`."""

    def __init__(self, bundle: Bundle, sessions: dict[str, Session], cache: ByteCache[Arrays]) -> None: ...

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
        bundle.require(
            "mask_decoder",
            inputs={"image_embedding": None, "boxes": (None, 4)},
            outputs={"logits": (None, mask_size, mask_size)},
        )

    @property
    def device(self) -> str:
        """The device on which the graphs run."""
        return self._encoder.device

    def draw(self, picture: Picture, boxes: NDArray[np.float32], watch: Stopwatch) -> list[NDArray[np.float32]]:
        """Return the mask of the object in each box, without specks; see `Drawer.draw`."""
        with watch.stage("encode"):
            (embedding,) = self._cache.get((picture.key, "embedding"), lambda: self._encode(picture))
        height, width = picture.size
        fitted = self._resize.fitted_size(height, width)
        to_square = np.array([fitted[1] / width, fitted[0] / height] * 2, np.float32)
        with watch.stage("masks"):
            logits = self._decode(embedding, boxes * to_square)
        rows, columns = (side // self._mask_stride for side in fitted)
        return [remove_specks(one[:rows, :columns]) for one in logits]

    def _encode(self, picture: Picture) -> Arrays:
        return self._encoder.run(image=self._resize.fit(picture.pixels, picture.size))

    def _decode(self, embedding: NDArray[np.float32], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return one mask for each box: (n, 4) in pixels of the encoder's square to (n, h, w) logits."""
        step = len(boxes) if DEVICES[self.device].batches_boxes else 1
        parts = [boxes[start : start + step] for start in range(0, len(boxes), step)]
        return np.concatenate([self._decoder.run(image_embedding=embedding, boxes=part)[0] for part in parts])


DRAWERS: Final[Mapping[str, type[Drawer]]] = {"sam": Sam}
"""Drawers by the name that a manifest gives; see `automask.families.boxes`."""


def remove_specks(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Remove the small parts of a mask, then fill its pinholes, as SAM's own tool does.

    Parameters
    ----------
    logits
        (h, w) float32, positive inside. Parts below 10 % of the area of the largest one are removed, holes below 1 %
        are filled.

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
        np.negative(clean, out=clean, where=small[parts])
    return clean
