"""Results received from a server: their pictures stay encoded until they are read."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from automask.errors import ImageError
from automask.images import read_image
from automask.instance import Instance
from automask.result import PictureKind, Result
from automask.v1 import mask_pb2

from ..core.task import PICTURES, OutputFormat

__all__ = ["RemoteResult"]

_FORMATS = {picture: value for value, picture in PICTURES.items()}
_OUTSIDE = -1.0  # any negative number: outside the object


class RemoteResult(Result):
    """A result whose pictures are still encoded. Pictures that the server did not send are made here."""

    # Empty by default: `dataclasses.replace` makes a result without it, from decoded pictures.
    _media: Mapping[int, bytes] = {}
    _size: tuple[int, int]

    @classmethod
    def make(
        cls, message: mask_pb2.MaskResult, photo: bytes | NDArray[np.uint8] | None, **shared: object
    ) -> RemoteResult:
        """Convert one result of a response.

        Parameters
        ----------
        message
            The result as the server sent it.
        photo
            The image that was sent, or None if it is not known.
        **shared
            The attributes that all results of a response share.
        """
        result = cls.__new__(cls)
        size = (message.height, message.width)
        # The class is frozen, and `mask` and `image` are computed later, so the other attributes are set directly.
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
        """(H, W) uint8, 0 or 255, at the size of the image."""
        if (raw := self._media.get(OutputFormat.MASK_RAW)) is not None:
            return np.frombuffer(raw, np.uint8).reshape(self._size)
        if (png := self._media.get(OutputFormat.MASK_PNG)) is not None:
            return self._binary(_decode(png, cv2.IMREAD_GRAYSCALE))
        if OutputFormat.ALPHA_PNG in self._media and self.parameters.alpha == "hard":
            return self._binary(np.ascontiguousarray(self.alpha[..., 3]))
        raise ImageError(
            "this result came without its mask: the request asked for none of MASK_PNG, MASK_RAW and ALPHA_PNG"
        )

    def _binary(self, opacity: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the mask of a ramp, which lies outside it."""
        if not self.parameters.feather:
            return opacity
        inside = opacity > 0 if self.parameters.invert_mask else opacity == 255
        return np.where(inside, np.uint8(255), np.uint8(0))

    @cached_property
    def opacity(self) -> NDArray[np.uint8] | None:
        """(H, W) uint8, 0..255, of the cut-out or the feathered mask that the server sent; None if it sent neither."""
        if self.parameters.alpha == "hard" and not self.parameters.feather:
            return None
        if OutputFormat.ALPHA_PNG in self._media:
            return np.ascontiguousarray(self.alpha[..., 3])
        if self.parameters.feather and (png := self._media.get(OutputFormat.MASK_PNG)) is not None:
            return _decode(png, cv2.IMREAD_GRAYSCALE)
        return None

    @cached_property
    def image(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8, RGB: the image, upright."""
        photo: bytes | NDArray[np.uint8] | None = self.photo
        if photo is None:
            raise ImageError("a result that was fetched by its id does not carry the photo: read it from its file")
        return read_image(photo)

    @cached_property
    def alpha(self) -> NDArray[np.uint8]:
        """(H, W, 4) uint8, RGBA: the photo cut out by the mask."""
        png = self._media.get(OutputFormat.ALPHA_PNG)
        return super().alpha if png is None else _swap(_decode(png, cv2.IMREAD_UNCHANGED), cv2.COLOR_BGRA2RGBA)

    @cached_property
    def preview(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8, RGB: the mask tinted over the photo."""
        png = self._media.get(OutputFormat.PREVIEW_PNG)
        return super().preview if png is None else _swap(_decode(png, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)

    def encode(self, kind: PictureKind | None = None, suffix: str = ".png") -> bytes:
        """Return a picture as a file: the one that the server sent, if it sent it."""
        wanted = _FORMATS.get((kind or self.kind, suffix))
        sent = None if wanted is None else self._media.get(wanted)
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
