"""What to mask, to and from the wire."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from automask.errors import ImageError, ParameterError
from automask.images import ImageSource, encoded_bytes, read_image
from automask.parameters import Parameters
from automask.v1 import mask_pb2

__all__ = [
    "FORMATS",
    "MAX_PROMPTS",
    "MAX_PROMPT_LENGTH",
    "Format",
    "Task",
    "portable",
    "read_parameters",
    "read_task",
    "write_parameters",
    "write_task",
]

Format: TypeAlias = "mask_pb2.OutputFormat.ValueType"

MAX_PROMPTS: Final = 64
MAX_PROMPT_LENGTH: Final = 1000
FORMATS: Final = tuple(value for value in mask_pb2.OutputFormat.values() if value)


@dataclass(frozen=True, slots=True)
class Task:
    """One photo, what to mask in it, and how the mask is wanted.

    Attributes
    ----------
    image
        The bytes of a file, or (H, W, 1|3|4) uint8 pixels.
    prompts, exclude
        What to mask, and what to leave out.
    parameters
        How the mask is wanted.
    model
        Name of the model; empty for the first one of the server.
    formats
        The forms in which each mask comes back; none means the one picture that the parameters choose.
    """

    image: bytes | NDArray[np.uint8] = field(repr=False)
    prompts: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    parameters: Parameters = Parameters()  # noqa: RUF009 (it is frozen)
    model: str = ""
    formats: tuple[Format, ...] = ()


def read_task(message: mask_pb2.MaskTask, *, max_image_bytes: int) -> Task:
    """Take a task off the wire and check all of it but what the image holds.

    Parameters
    ----------
    message
        As a client sent it.
    max_image_bytes
        Most bytes of an image.

    Raises
    ------
    ImageError
        There is no image, it is too large, or its pixels do not fit its size.
    ParameterError
        Anything else is out of its range; the parameter is named as in the contract.
    """
    return Task(
        image=_read_image(message.image, max_image_bytes),
        prompts=_read_prompts("prompts", message.prompts, least=1),
        exclude=_read_prompts("exclude", message.exclude, least=0),
        parameters=read_parameters(message.parameters),
        model=message.model,
        formats=_read_formats(message.formats),
    )


def _read_image(message: mask_pb2.Image, max_bytes: int) -> bytes | NDArray[np.uint8]:
    source = message.WhichOneof("source")
    if source is None:
        raise ImageError("there is no image: set `encoded` to the bytes of a file, or `raw` to pixels")
    data = message.encoded if source == "encoded" else message.raw.data
    if len(data) > max_bytes:
        raise ImageError(
            f"image has {len(data):,} bytes, this server takes {max_bytes:,} at most (`automask serve --max-image-mb`)"
        )
    return data if source == "encoded" else _read_pixels(message.raw, data)


def _read_pixels(raw: mask_pb2.RawImage, data: bytes) -> NDArray[np.uint8]:
    shape = (raw.height, raw.width, raw.channels)
    met = f"raw image says height {raw.height}, width {raw.width}, channels {raw.channels}"
    if raw.channels not in {1, 3, 4}:
        raise ImageError(f"{met}; channels must be 1 (grey), 3 (RGB) or 4 (RGBA)")
    if min(shape) < 1:
        raise ImageError(f"{met}; height and width must be 1 or more")
    if len(data) != raw.height * raw.width * raw.channels:
        raise ImageError(f"{met}; that takes {raw.height * raw.width * raw.channels:,} bytes, got {len(data):,}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _read_prompts(name: str, prompts: Sequence[str], *, least: int) -> tuple[str, ...]:
    if not least <= len(prompts) <= MAX_PROMPTS:
        raise ParameterError(name, f"hold {least} to {MAX_PROMPTS} prompts", len(prompts))
    for index, prompt in enumerate(prompts):
        if not prompt.strip():
            raise ParameterError(f"{name}[{index}]", "name something", prompt[:20])
        if len(prompt) > MAX_PROMPT_LENGTH:
            raise ParameterError(f"{name}[{index}]", f"have at most {MAX_PROMPT_LENGTH} characters", len(prompt))
    return tuple(prompts)


def _read_formats(formats: Sequence[Format]) -> tuple[Format, ...]:
    for value in formats:
        if value not in FORMATS:
            names = ", ".join(mask_pb2.OutputFormat.Name(known) for known in FORMATS)
            raise ParameterError("formats", f"hold only {names}", value)
    return tuple(dict.fromkeys(formats))


def read_parameters(message: mask_pb2.MaskParameters) -> Parameters:
    """Take parameters off the wire; those that were left out have their defaults.

    Raises
    ------
    ParameterError
        One is out of its range.
    """
    return Parameters(**{descriptor.name: value for descriptor, value in message.ListFields()})


def write_parameters(parameters: Parameters) -> mask_pb2.MaskParameters:
    """Put parameters on the wire, every one of them: the defaults of another version may differ."""
    return mask_pb2.MaskParameters(
        threshold=float(parameters.threshold),
        grow_mask=int(parameters.grow_mask),
        invert_mask=parameters.invert_mask,
        return_mask=parameters.return_mask,
        return_alpha=parameters.return_alpha,
        stop_on_empty_mask=parameters.stop_on_empty_mask,
        seed=int(parameters.seed),
    )


def portable(image: ImageSource) -> bytes | NDArray[np.uint8]:
    """Give an image the form in which it travels: the bytes of its file as they are, or else (H, W, 3) uint8 RGB.

    Raises
    ------
    ImageError
        A file that cannot be read or does not start like an image, or an array that is none.
    """
    encoded = encoded_bytes(image)
    return read_image(image) if encoded is None else encoded


def write_task(
    image: bytes | NDArray[np.uint8],
    prompts: Sequence[str],
    *,
    exclude: Sequence[str] = (),
    parameters: Parameters = Parameters(),  # noqa: B008 (it is frozen)
    model: str = "",
    formats: Sequence[Format] = (),
) -> mask_pb2.MaskTask:
    """Put a task on the wire.

    Parameters
    ----------
    image
        What `portable` gave.
    prompts, exclude, parameters, model, formats
        As in `Task`.
    """
    return mask_pb2.MaskTask(
        image=_write_image(image),
        prompts=prompts,
        exclude=exclude,
        parameters=write_parameters(parameters),
        model=model,
        formats=formats,
    )


def _write_image(image: bytes | NDArray[np.uint8]) -> mask_pb2.Image:
    if isinstance(image, bytes):
        return mask_pb2.Image(encoded=image)
    height, width, channels = image.shape
    return mask_pb2.Image(raw=mask_pb2.RawImage(data=image.tobytes(), width=width, height=height, channels=channels))
