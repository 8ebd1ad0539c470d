"""The result of one prompt on one image."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from . import postprocess
from .encodings import Rle, polygons, rle
from .errors import ImageError, ParameterError
from .images import Decoder, decode
from .instance import Instance
from .matting import edge_radius, foreground
from .parameters import Parameters

__all__ = ["FORMATS", "PictureKind", "Result", "encode_picture"]

PictureKind = Literal["mask", "alpha", "preview"]
FORMATS: Mapping[str, Sequence[int]] = {".png": (), ".webp": (cv2.IMWRITE_WEBP_QUALITY, 101)}
"""Suffixes of the formats, with OpenCV's settings; its WebP is lossless at a quality above 100."""
_MAX_SIDES = {".png": 1_000_000, ".webp": 16_383}  # of their encoders, in pixels


@dataclass(frozen=True)
class Result:
    """A mask, and what is known about it.

    Attributes
    ----------
    mask
        (H, W) uint8, 0 or 255, at the size of the image.
    photo
        The image as (H, W, 3) uint8, RGB, upright, or as the encoded file; `image` has its pixels.
    instances
        The objects found, best first, before growing and inverting; empty for a model that scores only pixels.
    score_map
        (H, W) float32 in 0..1 of a model that scores pixels, else None. Where there are instances too, they make the
        mask.
    prompt
        The prompt as it was passed.
    labels
        Labels that the prompt resolved to.
    dropped
        Words of the prompt that were not used.
    warnings
        One sentence for each way in which the mask may differ from what the prompt asks for.
    is_empty
        Whether nothing was found; growing and inverting do not change that.
    parameters
        The parameters of the mask.
    timings
        Milliseconds by stage, and their sum in ``total``.
    device
        The device on which the model ran, such as ``cpu``.
    model
        Name of the bundle.
    decoder
        What decodes `photo` where it is a file.
    """

    mask: NDArray[np.uint8] = field(repr=False)
    photo: NDArray[np.uint8] | bytes = field(repr=False)
    instances: tuple[Instance, ...]
    score_map: NDArray[np.float32] | None = field(repr=False)
    prompt: str
    labels: tuple[str, ...]
    dropped: tuple[str, ...]
    warnings: tuple[str, ...]
    is_empty: bool
    parameters: Parameters
    timings: Mapping[str, float]
    device: str
    model: str
    opacity: NDArray[np.uint8] | None = field(default=None, repr=False)
    decoder: Decoder = field(default=decode, repr=False, compare=False)

    @cached_property
    def image(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8, RGB: the image, upright. Do not write to it: other results may share it."""
        if isinstance(self.photo, bytes):
            return self.decoder(self.photo, max_pixels=self.mask.size)[0]
        return self.photo

    @cached_property
    def alpha(self) -> NDArray[np.uint8]:
        """(H, W, 4) uint8, RGBA: the image with the mask, or its opacity, as its alpha channel.

        With ``alpha="soft"`` the colours of partly transparent pixels are those of the object alone.
        """
        if self.opacity is None:
            return postprocess.alpha(self.image, self.mask)
        image = self.image
        if self.parameters.alpha == "soft":
            image = foreground(image, self.opacity, edge_radius(*self.opacity.shape))
        return postprocess.alpha(image, self.opacity)

    @cached_property
    def preview(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8, RGB: the image, tinted where the mask is set."""
        return postprocess.preview(self.image, self.mask)

    @property
    def seed(self) -> int:
        """The parameter `seed`, −1 by default."""
        return self.parameters.seed

    @property
    def rle(self) -> Rle:
        """The mask as COCO run lengths."""
        return rle(self.mask)

    @property
    def polygons(self) -> list[list[float]]:
        """The mask as COCO polygons."""
        return polygons(self.mask)

    @property
    def kind(self) -> PictureKind:
        """The picture that the parameters choose: alpha with `return_alpha`, mask with `return_mask`, else preview."""
        if self.parameters.return_alpha:
            return "alpha"
        return "mask" if self.parameters.return_mask else "preview"

    @property
    def output(self) -> bytes | str:
        """That picture as a PNG, as in the hosted API: bytes, or base64 text with the parameter `base64`."""
        png = self.encode()
        return base64.b64encode(png).decode("ascii") if self.parameters.base64 else png

    def encode(self, kind: PictureKind | None = None, suffix: str = ".png") -> bytes:
        """Return one of the pictures as a file, without loss.

        Parameters
        ----------
        kind
            ``mask``, ``alpha`` or ``preview``; by default the one that the parameters choose.
        suffix
            ``.png`` or ``.webp``.

        Raises
        ------
        ParameterError
            `kind` or `suffix` is another one.
        ImageError
            A side of the photo is longer than the format can hold: 1,000,000 pixels in PNG, 16,383 in WebP.
        """
        return encode_picture(self._picture(kind or self.kind), suffix)

    def _picture(self, kind: str) -> NDArray[np.uint8]:
        if kind == "mask":
            return self.opacity if self.opacity is not None and self.parameters.feather else self.mask
        if kind == "alpha":
            return self.alpha
        if kind == "preview":
            return self.preview
        raise ParameterError("kind", "be one of mask, alpha, preview", kind)

    def save(self, path: str | PathLike[str], kind: PictureKind | None = None) -> Path:
        """Write one of the pictures to a file.

        Parameters
        ----------
        path
            A path that ends in ``.png`` or ``.webp``; an existing file is replaced.
        kind
            ``mask``, ``alpha`` or ``preview``; by default the one that the parameters choose.

        Returns
        -------
        The path.

        Raises
        ------
        ParameterError
            The suffix or `kind` is another one.
        OSError
            The file cannot be written.
        """
        target = Path(path)
        target.write_bytes(self.encode(kind, target.suffix.lower()))
        return target


def encode_picture(pixels: NDArray[np.uint8], suffix: str) -> bytes:
    """Return a picture as a file, without loss.

    Parameters
    ----------
    pixels
        uint8: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA.
    suffix
        ``.png`` or ``.webp``.

    Raises
    ------
    ParameterError
        `suffix` is another one.
    ImageError
        A side is longer than the format can hold: 1,000,000 pixels in PNG, 16,383 in WebP.
    """
    if suffix not in FORMATS:
        raise ParameterError("suffix", f"be one of {', '.join(FORMATS)}, which are lossless", suffix)
    height, width = pixels.shape[:2]
    if max(height, width) > _MAX_SIDES[suffix]:
        raise ImageError(f"{suffix} holds at most {_MAX_SIDES[suffix]} pixels a side, it is {width}×{height}")
    if pixels.ndim == 3:
        order = cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR
        pixels = np.asarray(cv2.cvtColor(pixels, order), np.uint8)
    _, data = cv2.imencode(suffix, pixels, FORMATS[suffix])
    return data.tobytes()
