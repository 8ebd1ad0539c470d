"""Configuration and image processor of SAM 3, and their settings for the runtime."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from automask.errors import ParameterError

from ...checkpoint import Checkpoint, CheckpointError
from ...image_processor import check_filter, square_size

__all__ = ["EXAMPLE", "LENGTH", "is_lite", "read_config", "read_processor"]

LENGTH = 32
"""Tokens to which transformers' Sam3Processor pads every text."""

EXAMPLE = "visual"
"""The text of Sam3Processor for examples without a text."""

# Of transformers' Sam3ImageProcessor, for settings that a file leaves out.
_DEFAULTS = {
    "do_resize": True,
    "size": {"height": 1008, "width": 1008},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}


def is_lite(checkpoint: Checkpoint) -> bool:
    """Return whether the text encoder is MobileCLIP, which takes texts of one length only."""
    return bool(checkpoint.config["model_type"] == "sam3_lite_text")


def read_config(checkpoint: Checkpoint, image_size: int | None) -> Any:  # noqa: ANN401 (transformers is imported late)
    """Read the configuration of the detector; in a checkpoint for videos, it is one of two parts.

    Parameters
    ----------
    image_size
        Side of the square image in pixels; None for the checkpoint's own.

    Raises
    ------
    CheckpointError
        transformers cannot read it.
    ParameterError
        The image size is not a multiple of the patch size.
    """
    from transformers import Sam3Config, Sam3LiteTextConfig

    kind: Any = Sam3LiteTextConfig if is_lite(checkpoint) else Sam3Config
    try:
        config = kind.from_dict(checkpoint.config.get("detector_config", checkpoint.config))
        patch = config.vision_config.backbone_config.patch_size
    except Exception as error:  # a wrong type in it can raise anything
        raise CheckpointError(f"config.json of {checkpoint.name} cannot be read: {error}") from error
    if image_size is not None:
        if image_size % patch:
            raise ParameterError("image size", f"be a multiple of the patch size {patch}", image_size)
        config.image_size = image_size
    return config


def read_processor(checkpoint: Checkpoint, own: int, image_size: int | None) -> SimpleNamespace:
    """Read the settings of the image processor; its class needs torchvision.

    Parameters
    ----------
    own
        The image size of the checkpoint's configuration.
    image_size
        The size asked for; None for the checkpoint's own.

    Raises
    ------
    CheckpointError
        They are missing or unreadable, or one is not supported.
    """
    settings = _DEFAULTS | dict(_processor_file(checkpoint))
    settings = {name: settings[name] for name in _DEFAULTS}
    processor = SimpleNamespace(**settings)
    side = square_size(processor, checkpoint.name)
    if side != own:
        raise CheckpointError(f"{checkpoint.name} resizes images to {side}, its config.json has image_size {own}")
    check_filter(processor, checkpoint.name)
    if image_size is not None:
        processor.size = {"height": image_size, "width": image_size}
    return processor


def _processor_file(checkpoint: Checkpoint) -> Mapping[str, Any]:
    """Return the settings in `preprocessor_config.json`, or in the newer `processor_config.json`."""
    for name, key in (("preprocessor_config.json", None), ("processor_config.json", "image_processor")):
        path = checkpoint.folder / name
        if not path.is_file():
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            found = content if key is None else content[key]
            return {setting: value for setting, value in found.items() if value is not None}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{name} of {checkpoint.name} cannot be read: {error!r}") from error
    raise CheckpointError(
        f"{checkpoint.name} has neither preprocessor_config.json nor processor_config.json, the settings of its image "
        "processor"
    )
