"""Image processors of transformers: loaded, set to one square size, and described for the runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..checkpoint import Checkpoint, CheckpointError

if TYPE_CHECKING:
    from transformers import BaseImageProcessor

__all__ = ["fit_to", "image_settings", "load_processor", "own_size", "stretch_to"]

# Pillow's own numbers, which preprocessor_config.json uses.
_INTERPOLATIONS = {0: "pillow_nearest", 1: "pillow_lanczos", 2: "pillow_bilinear", 3: "pillow_bicubic"}


def load_processor(checkpoint: Checkpoint) -> BaseImageProcessor:
    """Read the image processor.

    Raises
    ------
    CheckpointError
        It is missing or unreadable, or uses an unsupported setting.
    """
    from transformers import AutoImageProcessor

    if not (checkpoint.folder / "preprocessor_config.json").is_file():
        raise CheckpointError(f"{checkpoint.name} has no preprocessor_config.json, the settings of its image processor")
    try:
        # The fast processors need torchvision, and resize differently from Pillow.
        processor = AutoImageProcessor.from_pretrained(checkpoint.folder, use_fast=False, local_files_only=True)
    except Exception as error:  # a wrong type in the file can raise anything
        raise CheckpointError(f"preprocessor_config.json of {checkpoint.name} cannot be read: {error}") from error
    if processor.resample not in _INTERPOLATIONS:
        raise CheckpointError(f"{checkpoint.name} uses resample={processor.resample}; supported: {_INTERPOLATIONS}")
    return processor


def own_size(processor: BaseImageProcessor) -> int:
    """Return the side of the square, in pixels, that is nearest to the processor's own size: its shorter side."""
    size = dict(processor.size)
    return int(min(value for name in ("height", "width", "shortest_edge") if (value := size.get(name))))


def stretch_to(processor: BaseImageProcessor, size: int) -> None:
    """Make a processor stretch every image to a square."""
    processor.size = {"height": size, "width": size}
    # Settings of some processors: crops, proportions, and padding to a multiple.
    for name, off in (("do_center_crop", False), ("keep_aspect_ratio", False), ("size_divisor", 0)):
        if hasattr(processor, name):
            setattr(processor, name, off)


def fit_to(processor: BaseImageProcessor, size: int) -> None:
    """Make a processor fit every image into a square, at the top left, and pad the rest."""
    processor.size = {"shortest_edge": size, "longest_edge": size}
    processor.do_pad = True
    if hasattr(processor, "pad_size"):
        processor.pad_size = {"height": size, "width": size}


def image_settings(processor: BaseImageProcessor, size: int, **more: object) -> dict[str, Any]:
    """Return an entry under ``image`` of the manifest: mean and std are in units of 0..255, rescaling included."""
    factor = processor.rescale_factor if processor.do_rescale else 1.0
    mean = processor.image_mean if processor.do_normalize else [0.0] * 3
    std = processor.image_std if processor.do_normalize else [1.0] * 3
    return {
        "size": size,
        "resize": "longest_side" if "longest_edge" in processor.size else "stretch",
        "interpolation": _INTERPOLATIONS[processor.resample],
        "mean": [value / factor for value in mean],
        "std": [value / factor for value in std],
        **more,
    }
