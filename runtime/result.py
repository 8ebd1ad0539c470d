"""What comes back for one image and one prompt."""

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
from .errors import ParameterError
from .images import read_image
from .instance import Instance
from .parameters import Parameters

__all__ = ["FORMATS", "PictureKind", "Result"]

PictureKind = Literal["mask", "alpha", "preview"]
FORMATS: Mapping[str, Sequence[int]] = {".png": (), ".webp": (cv2.IMWRITE_WEBP_QUALITY, 101)}
"""Endings that can be written, with OpenCV's settings for them; above quality 100 its WebP loses nothing."""


@dataclass(frozen=True)
class Result:
    """A mask and everything known about it.

    Attributes
    ----------
    mask
        (H, W) uint8, 0 or 255, at the photo's own size.
    photo
        The photo as (H, W, 3) uint8, RGB, upright, or the file that holds it; see `image`.
    instances
        The objects found, best first, before growing and inverting; empty where the family has none.
    score_map
        (H, W) float32 in 0..1 where the family gives one, else None.
    prompt
        The prompt as it was given.
    labels
        What the model took it for.
    dropped
        Words of the prompt that were not used.
    warnings
        Sentences about what may not be as expected.
    is_empty
        Whether nothing was found; growing and inverting do not change that.
    parameters
        What the mask was made with.
    timings
        Milliseconds by stage, and in ``total``.
    device
        Where the model ran: ``cpu``, ``cuda`` or ``tensorrt``.
    model
        Name of the bundle.
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

    @cached_property
    def image(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8, RGB: the photo, upright. It may be shared with other results: do not write into it."""
        return read_image(self.photo, max_pixels=self.mask.size)

    @cached_property
    def alpha(self) -> NDArray[np.uint8]:
        """(H, W, 4) uint8, RGBA: the photo cut out by the mask."""
        return postprocess.alpha(self.image, self.mask)

    @cached_property
    def preview(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8, RGB: the mask tinted over the photo."""
        return postprocess.preview(self.image, self.mask)

    @property
    def seed(self) -> int:
        """The seed that was given, −1 if none was."""
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
        """Which picture the parameters ask for; with `return_alpha` the cut-out, without `return_mask` the preview."""
        if self.parameters.return_alpha:
            return "alpha"
        return "mask" if self.parameters.return_mask else "preview"

    @property
    def output(self) -> bytes | str:
        """That picture as a PNG, as the hosted API answers: bytes, or base64 text where `base64` was set."""
        png = self.encode()
        return base64.b64encode(png).decode("ascii") if self.parameters.base64 else png

    def encode(self, kind: PictureKind | None = None, suffix: str = ".png") -> bytes:
        """Encode one of the pictures, without loss.

        Parameters
        ----------
        kind
            ``mask``, ``alpha`` or ``preview``; by default the one the parameters ask for.
        suffix
            ``.png`` or ``.webp``.

        Raises
        ------
        ParameterError
            Another kind or suffix.
        """
        if suffix not in FORMATS:
            raise ParameterError("suffix", f"be one of {', '.join(FORMATS)}, which lose nothing", suffix)
        _, data = cv2.imencode(suffix, self._channels_for_opencv(kind or self.kind), FORMATS[suffix])
        return data.tobytes()

    def _channels_for_opencv(self, kind: str) -> NDArray[np.uint8]:
        if kind == "mask":
            return self.mask
        if kind == "alpha":
            return np.asarray(cv2.cvtColor(self.alpha, cv2.COLOR_RGBA2BGRA), np.uint8)
        if kind == "preview":
            return np.asarray(cv2.cvtColor(self.preview, cv2.COLOR_RGB2BGR), np.uint8)
        raise ParameterError("kind", "be one of mask, alpha, preview", kind)

    def save(self, path: str | PathLike[str], kind: PictureKind | None = None) -> Path:
        """Write one of the pictures to a file.

        Parameters
        ----------
        path
            Ends in ``.png`` or ``.webp``; an existing file is replaced.
        kind
            ``mask``, ``alpha`` or ``preview``; by default the one the parameters ask for.

        Returns
        -------
        The path.

        Raises
        ------
        ParameterError
            Another ending or kind.
        OSError
            The file cannot be written.
        """
        target = Path(path)
        target.write_bytes(self.encode(kind, target.suffix.lower()))
        return target
