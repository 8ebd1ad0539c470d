"""The task: one image, what to mask in it, and how the mask is returned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from automask.errors import ImageError, ParameterError
from automask.parameters import Parameters, Query
from automask.result import PictureKind
from automask.selection import Selection

from ..limits import MAX_PROMPT_LENGTH, MAX_PROMPTS

__all__ = ["CHOSEN", "PICTURES", "OutputFormat", "Task"]


class OutputFormat(IntEnum):
    """A form in which a mask is returned. Names and numbers are those of the wire contract."""

    MASK_PNG = 1
    ALPHA_PNG = 2
    ALPHA_WEBP = 3
    PREVIEW_PNG = 4
    MASK_RAW = 5
    COCO_RLE = 6
    POLYGONS = 7
    INSTANCE_LOGITS = 8


CHOSEN: Final[Mapping[PictureKind, OutputFormat]] = MappingProxyType(
    {"mask": OutputFormat.MASK_PNG, "alpha": OutputFormat.ALPHA_PNG, "preview": OutputFormat.PREVIEW_PNG}
)
"""The format of each picture that `Parameters` can choose."""

PICTURES: Final[Mapping[int, tuple[PictureKind, str]]] = MappingProxyType(
    {**{value: (kind, ".png") for kind, value in CHOSEN.items()}, OutputFormat.ALPHA_WEBP: ("alpha", ".webp")}
)
"""The picture and the file name extension of each format that is a picture file."""


@dataclass(frozen=True, slots=True)
class Task:
    """One image, what to mask in it, and how the mask is returned.

    Attributes
    ----------
    image
        The bytes of an image file, or (H, W, 1|3|4) uint8 pixels.
    prompts, exclude
        What to mask, and what to leave out.
    parameters
        Threshold, growing, inverting and so on.
    model
        Name of the model; empty for the server's default model.
    formats
        The forms in which each mask is returned, each once; none means the one picture that `parameters` choose.
    selection
        A box, points and instances of the prompt; may be empty.
    return_errors
        A prompt that cannot be answered does not fail the others.
    """

    image: bytes | NDArray[np.uint8] = field(repr=False)
    prompts: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    parameters: Parameters = Parameters()  # noqa: RUF009 (it is frozen)
    model: str = ""
    formats: tuple[OutputFormat, ...] = ()
    selection: Selection = Selection()  # noqa: RUF009 (it is frozen)
    return_errors: bool = False

    @property
    def query(self) -> Query:
        """The prompts and parameters, as a model takes them."""
        return Query(self.prompts, self.exclude, self.parameters, self.selection, self.return_errors)

    def check(self, *, max_image_bytes: int) -> None:
        """Check everything that needs neither the model nor a decoded image.

        Parameters
        ----------
        max_image_bytes
            Maximum size of the image, in bytes.

        Raises
        ------
        ImageError
            The image is too large.
        ParameterError
            There are too few or too many prompts, or one of them is empty or too long. A task whose box or points mean
            an object needs none.
        """
        size = len(self.image) if isinstance(self.image, bytes) else self.image.nbytes
        if size > max_image_bytes:
            raise ImageError(
                f"image has {size:,} bytes, this server takes {max_image_bytes:,} at most "
                "(`automask serve --max-image-mb`)"
            )
        _check_prompts("prompts", self.prompts, least=0 if self.selection.is_object else 1)
        _check_prompts("exclude", self.exclude, least=0)


def _check_prompts(name: str, prompts: Sequence[str], *, least: int) -> None:
    if not least <= len(prompts) <= MAX_PROMPTS:
        raise ParameterError(name, f"hold {least} to {MAX_PROMPTS} prompts", len(prompts))
    for index, prompt in enumerate(prompts):
        if not prompt.strip():
            raise ParameterError(f"{name}[{index}]", "name something", prompt[:20])
        if len(prompt) > MAX_PROMPT_LENGTH:
            raise ParameterError(f"{name}[{index}]", f"have at most {MAX_PROMPT_LENGTH} characters", len(prompt))
