"""Image processors of Segment Anything checkpoints, and their settings for the runtime.

The files are read without transformers' classes: SAM 2's needs torchvision, which nothing else here does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from automask.errors import ParameterError

from ...checkpoint import Checkpoint, CheckpointError
from ...image_processor import PILLOW_FILTERS
from .decoder import STRIDE

__all__ = ["checked_size", "image_settings", "read_processor"]

_FILES = ("preprocessor_config.json", "processor_config.json")
# transformers' defaults, in both processors.
_DEFAULTS = {
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "rescale_factor": 1 / 255,
    "resample": 2,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


def read_processor(checkpoint: Checkpoint) -> dict[str, Any]:
    """Read the settings of a checkpoint's image processor; those that the file leaves out have their defaults.

    Raises
    ------
    CheckpointError
        There are none, or they cannot be read.
    """
    for name in _FILES:
        path = checkpoint.folder / name
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            # The second file holds the processor's settings, and in newer checkpoints the image processor's too.
            settings = content if name == _FILES[0] else content["image_processor"]
            return _DEFAULTS | {key: value for key, value in settings.items() if value is not None}
        except (FileNotFoundError, KeyError):
            continue
        except (AttributeError, TypeError, ValueError) as error:
            raise CheckpointError(f"{name} of {checkpoint.name} cannot be read: {error}") from error
    raise CheckpointError(f"{checkpoint.name} has no {_FILES[0]}, the settings of its image processor")


def image_settings(processor: Mapping[str, Any], size: int, resize: str, name: str) -> dict[str, Any]:
    """Return ``image.image_encoder`` of the manifest; mean and std are in units of 0..255, rescaling included.

    Parameters
    ----------
    processor
        From `read_processor`.
    size
        Side of the square image in pixels.
    resize
        ``longest_side`` or ``stretch``.
    name
        Name of the checkpoint.

    Raises
    ------
    CheckpointError
        The processor does something that the runtime does not.
    """
    if processor["resample"] not in PILLOW_FILTERS or not processor["do_resize"]:
        raise CheckpointError(
            f"{name} must resize images with one of {PILLOW_FILTERS}, got do_resize={processor['do_resize']} and "
            f"resample={processor['resample']}"
        )
    factor = processor["rescale_factor"] if processor["do_rescale"] else 1.0
    mean = processor["image_mean"] if processor["do_normalize"] else [0.0] * 3
    std = processor["image_std"] if processor["do_normalize"] else [1.0] * 3
    return {
        "size": size,
        "resize": resize,
        "interpolation": PILLOW_FILTERS[processor["resample"]],
        "mean": [value / factor for value in mean],
        "std": [value / factor for value in std],
        "mask_stride": STRIDE,
    }


def checked_size(size: int, multiple: int) -> int:
    """Return a side of the square image in pixels.

    Raises
    ------
    ParameterError
        It is not a multiple of what the network needs.
    """
    if size < multiple or size % multiple:
        raise ParameterError("image size", f"be a multiple of {multiple}", size)
    return size
