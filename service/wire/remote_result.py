"""A result that came over the wire: like any other, but its pictures stay encoded until somebody looks at them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from automask.errors import ImageError
from automask.images import read_image
from automask.instance import Instance
from automask.result import PictureKind, Result
from automask.v1 import mask_pb2

from .tasks import Format

__all__ = ["CHOSEN", "PICTURES", "RemoteResult"]

CHOSEN: Final[Mapping[PictureKind, Format]] = {
    "mask": mask_pb2.OUTPUT_FORMAT_MASK_PNG,
    "alpha": mask_pb2.OUTPUT_FORMAT_ALPHA_PNG,
    "preview": mask_pb2.OUTPUT_FORMAT_PREVIEW_PNG,
}
"""The format of each picture that the parameters can choose."""

PICTURES: Final[Mapping[Format, tuple[PictureKind, str]]] = {
    **{value: (kind, ".png") for kind, value in CHOSEN.items()},
    mask_pb2.OUTPUT_FORMAT_ALPHA_WEBP: ("alpha", ".webp"),
}
"""What each format that is a file shows, and its ending."""
_FORMATS = {picture: value for value, picture in PICTURES.items()}
_OUTSIDE = -1.0  # any negative number


class RemoteResult(Result):
    """A result whose pictures are still encoded; the server's own are used where it sent them."""

    # This is what it is here after `dataclasses.replace`, which looks at every picture.
    _media: Mapping[Format, bytes] = {}
    _size: tuple[int, int]

    @classmethod
    def make(
        cls, message: mask_pb2.MaskResult, photo: bytes | NDArray[np.uint8] | None, **shared: object
    ) -> RemoteResult:
        """Take one off the wire.

        Parameters
        ----------
        message
            As a server sent it.
        photo
            The photo, or None where it is not at hand.
        **shared
            The attributes that all results of a response share.
        """
        result = cls.__new__(cls)
        size = (message.height, message.width)
        # The class is frozen, and `mask` and `image` are to come later: its dictionary takes the rest.
        vars(result).update(
            shared,
            instances=tuple(_read_instance(one, size) for one in message.instances if one.HasField("logits")),
            score_map=None,
            prompt=message.prompt,
            labels=tuple(message.labels),
            dropped=tuple(message.dropped),
            warnings=tuple(message.warnings),
            is_empty=message.is_empty,
            _size=size,
            _media={media.format: media.data for media in message.media},
            photo=photo,
        )
        return result

    @cached_property
    def mask(self) -> NDArray[np.uint8]:
        """(H, W) uint8, 0 or 255, at the photo's own size."""
        if (raw := self._media.get(mask_pb2.OUTPUT_FORMAT_MASK_RAW)) is not None:
            return np.frombuffer(raw, np.uint8).reshape(self._size)
        if (png := self._media.get(mask_pb2.OUTPUT_FORMAT_MASK_PNG)) is not None:
            return _decode(png, cv2.IMREAD_GRAYSCALE)
        if mask_pb2.OUTPUT_FORMAT_ALPHA_PNG in self._media:
            return np.ascontiguousarray(self.alpha[..., 3])
        raise ImageError(
            "this result came without its mask: the request asked for none of MASK_PNG, MASK_RAW and ALPHA_PNG"
        )

    @cached_property
    def image(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8, RGB: the photo, upright."""
        photo: bytes | NDArray[np.uint8] | None = self.photo
        if photo is None:
            raise ImageError("a result that was fetched by its id does not carry the photo: read it from where it is")
        return read_image(photo)

    @cached_property
    def alpha(self) -> NDArray[np.uint8]:
        """(H, W, 4) uint8, RGBA: the photo cut out by the mask."""
        png = self._media.get(mask_pb2.OUTPUT_FORMAT_ALPHA_PNG)
        return super().alpha if png is None else _swap(_decode(png, cv2.IMREAD_UNCHANGED), cv2.COLOR_BGRA2RGBA)

    @cached_property
    def preview(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8, RGB: the mask tinted over the photo."""
        png = self._media.get(mask_pb2.OUTPUT_FORMAT_PREVIEW_PNG)
        return super().preview if png is None else _swap(_decode(png, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)

    def encode(self, kind: PictureKind | None = None, suffix: str = ".png") -> bytes:
        """Give one of the pictures as a file: the server's own where it sent it."""
        sent = self._media.get(_FORMATS.get((kind or self.kind, suffix), mask_pb2.OUTPUT_FORMAT_UNSPECIFIED))
        return super().encode(kind, suffix) if sent is None else sent


def _read_instance(message: mask_pb2.Instance, size: tuple[int, int]) -> Instance:
    sent, box = message.logits, message.box
    window = np.frombuffer(sent.data, "<f4").reshape(sent.window_rows, sent.window_columns)
    logits = np.full((sent.rows, sent.columns), _OUTSIDE, np.float32)
    logits[sent.top : sent.top + sent.window_rows, sent.left : sent.left + sent.window_columns] = window
    return Instance(
        label=message.label,
        score=message.score,
        box=(box.left, box.top, box.right, box.bottom),
        size=size,
        logits=logits,
    )


def _decode(data: bytes, flags: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), flags), np.uint8)


def _swap(pixels: NDArray[np.uint8], code: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(pixels, code), np.uint8)
