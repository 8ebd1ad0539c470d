"""Conversion of tasks between the core and protobuf."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from automask.errors import ImageError, ParameterError
from automask.images import ImageSource, encoded_bytes, read_image
from automask.parameters import Parameters
from automask.selection import Selection
from automask.v1 import mask_pb2

from ..core.task import OutputFormat, Task

__all__ = [
    "decode_task",
    "encode_message",
    "encode_task",
    "portable",
    "read_parameters",
    "read_task",
    "write_formats",
    "write_parameters",
    "write_task",
]


def read_task(message: mask_pb2.MaskTask) -> Task:
    """Convert a message to a task. `Task.check` then checks its size and its prompts.

    Raises
    ------
    ImageError
        There is no image, or its pixels do not match its size.
    ParameterError
        A parameter is out of its range, or a format is unknown; the error names the field of the contract.
    """
    return Task(
        image=_read_image(message.image),
        prompts=tuple(message.prompts),
        exclude=tuple(message.exclude),
        parameters=read_parameters(message.parameters),
        model=message.model,
        formats=_read_formats(message.formats),
        selection=_read_selection(message),
        return_errors=message.return_errors,
    )


def _read_selection(message: mask_pb2.MaskTask) -> Selection:
    box = message.box
    return Selection.build(
        box=(box.left, box.top, box.right, box.bottom) if message.HasField("box") else None,
        points=[(point.x, point.y, 0 if point.negative else 1) for point in message.points],
        keep=message.keep,
        drop=message.drop,
    )


def _read_image(message: mask_pb2.Image) -> bytes | NDArray[np.uint8]:
    source = message.WhichOneof("source")
    if source is None:
        raise ImageError("there is no image: set `encoded` to the bytes of a file, or `raw` to pixels")
    return message.encoded if source == "encoded" else _read_pixels(message.raw)


def _read_pixels(raw: mask_pb2.RawImage) -> NDArray[np.uint8]:
    shape, data = (raw.height, raw.width, raw.channels), raw.data
    met = f"raw image has height {raw.height}, width {raw.width}, channels {raw.channels}"
    if raw.channels not in {1, 3, 4}:
        raise ImageError(f"{met}; channels must be 1 (grey), 3 (RGB) or 4 (RGBA)")
    if min(shape) < 1:
        raise ImageError(f"{met}; height and width must be 1 or more")
    if len(data) != raw.height * raw.width * raw.channels:
        raise ImageError(f"{met}; that takes {raw.height * raw.width * raw.channels:,} bytes, got {len(data):,}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _read_formats(numbers: Sequence[int]) -> tuple[OutputFormat, ...]:
    try:
        return tuple(OutputFormat(number) for number in dict.fromkeys(numbers))
    except ValueError:
        names = ", ".join(f"OUTPUT_FORMAT_{known.name}" for known in OutputFormat)
        unknown = next(number for number in numbers if number not in [*OutputFormat])
        raise ParameterError("formats", f"hold only {names}", unknown) from None


def _names(enum: Any, prefix: str) -> Mapping[int, str]:  # noqa: ANN401 (an enum is a type to type checkers, and an object at run time)
    return {number: name.removeprefix(prefix).lower() for name, number in enum.items() if number}


_CHOICES: Final = {"edges": _names(mask_pb2.Edges, "EDGES_"), "alpha": _names(mask_pb2.Alpha, "ALPHA_")}
_DEFAULTS: Final = Parameters()


def read_parameters(message: mask_pb2.MaskParameters) -> Parameters:
    """Convert a message to parameters; fields that are not set take their defaults.

    Raises
    ------
    ParameterError
        A parameter is out of its range.
    """
    values = {descriptor.name: value for descriptor, value in message.ListFields()}
    for name, choices in _CHOICES.items():
        if name in values:  # a number of a newer version has no name here, and is refused as it is
            values[name] = choices.get(values[name], values[name])
    return Parameters(**values)


def write_task(task: Task) -> mask_pb2.MaskTask:
    """Convert a task to a message."""
    return mask_pb2.MaskTask(
        image=_write_image(task.image),
        prompts=task.prompts,
        exclude=task.exclude,
        parameters=write_parameters(task.parameters),
        model=task.model,
        formats=write_formats(task.formats),
        box=_write_box(task.selection),
        points=[mask_pb2.Point(x=x, y=y, negative=label == 0) for x, y, label in task.selection.points],
        keep=task.selection.keep,
        drop=task.selection.drop,
        return_errors=task.return_errors,
    )


def _write_box(selection: Selection) -> mask_pb2.Box | None:
    if selection.box is None:
        return None
    left, top, right, bottom = selection.box
    return mask_pb2.Box(left=left, top=top, right=right, bottom=bottom)


def _write_image(image: bytes | NDArray[np.uint8]) -> mask_pb2.Image:
    if isinstance(image, bytes):
        return mask_pb2.Image(encoded=image)
    height, width, channels = image.shape
    return mask_pb2.Image(raw=mask_pb2.RawImage(data=image.tobytes(), width=width, height=height, channels=channels))


def write_formats(formats: Sequence[OutputFormat]) -> list[mask_pb2.OutputFormat.ValueType]:
    """Convert formats to the numbers of the contract, which are their own."""
    return [mask_pb2.OutputFormat.ValueType(one) for one in formats]


def write_parameters(parameters: Parameters) -> mask_pb2.MaskParameters:
    """Convert parameters to a message with each of the hosted API's set: the defaults of another version may differ.

    The others are set only if they are not the default, so that a task without them is stored as it was before them.
    """
    message = mask_pb2.MaskParameters(
        threshold=float(parameters.threshold),
        grow_mask=int(parameters.grow_mask),
        invert_mask=parameters.invert_mask,
        return_mask=parameters.return_mask,
        return_alpha=parameters.return_alpha,
        stop_on_empty_mask=parameters.stop_on_empty_mask,
        seed=int(parameters.seed),
    )
    if parameters.edges != _DEFAULTS.edges:
        message.edges = mask_pb2.Edges.Value(f"EDGES_{parameters.edges.upper()}")
    if parameters.alpha != _DEFAULTS.alpha:
        message.alpha = mask_pb2.Alpha.Value(f"ALPHA_{parameters.alpha.upper()}")
    if parameters.feather != _DEFAULTS.feather:
        message.feather = int(parameters.feather)
    return message


def encode_message(message: mask_pb2.MaskTask) -> bytes:
    """Encode a task as the store keeps it.

    The store recognises a task that is submitted again by these bytes. Servers of every version must produce the same
    bytes for the same message, so they come from the message itself and not from the `Task` made of it.
    """
    return message.SerializeToString(deterministic=True)


def encode_task(task: Task) -> bytes:
    """Encode a task that did not arrive as a message, as the store keeps it."""
    return encode_message(write_task(task))


def decode_task(data: bytes) -> Task:
    """Decode a task that the store kept."""
    return read_task(mask_pb2.MaskTask.FromString(data))


def portable(image: ImageSource) -> bytes | NDArray[np.uint8]:
    """Convert an image to a form that `Task` takes: the bytes of its file unchanged, or else (H, W, 3) uint8 RGB.

    Raises
    ------
    ImageError
        The file cannot be read or does not start like an image, or the array is not an image.
    """
    encoded = encoded_bytes(image)
    return read_image(image) if encoded is None else encoded
