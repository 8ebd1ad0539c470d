"""Image processors of transformers: loaded, set to one square size, and described for the runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import image_processor
from ..checkpoint import Checkpoint, CheckpointError
from ..image_processor import check_filter

if TYPE_CHECKING:
    from transformers import BaseImageProcessor

__all__ = ["fit_to", "image_settings", "load_processor", "own_size", "stretch_to"]


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
    check_filter(processor, checkpoint.name)
    return processor


def own_size(processor: BaseImageProcessor) -> int:
    """Return the side of the square, in pixels, that is nearest to the processor's own size: its shorter side.

    Raises
    ------
    CheckpointError
        The processor has no size of its own.
    """
    size = dict(processor.size)
    sides = [value for name in ("height", "width", "shortest_edge") if (value := size.get(name))]
    if not sides:
        raise CheckpointError(f"the image processor has no size but {size}: choose one with --image-size")
    return int(min(sides))


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
    if hasattr(processor, "do_split_image"):
        processor.do_split_image = False  # the semantic checkpoints of EoMT take a photo in several pieces
    if hasattr(processor, "pad_size"):
        processor.pad_size = {"height": size, "width": size}


def image_settings(processor: BaseImageProcessor) -> dict[str, Any]:
    """Return an entry under ``image`` of the manifest."""
    return image_processor.image_settings(processor, "longest_side" if "longest_edge" in processor.size else "stretch")
