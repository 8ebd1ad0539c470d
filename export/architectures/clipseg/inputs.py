"""CLIPSeg's tokenizer and image processor, and their settings for the runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from automask.errors import ParameterError

from ... import clip_tokenizer, image_processor
from ...checkpoint import Checkpoint, CheckpointError
from ...clip_tokenizer import TokenizerError, write_tokenizer
from ...image_processor import PILLOW_FILTERS, pixel_settings, square_size

if TYPE_CHECKING:
    from transformers import CLIPSegConfig, CLIPTokenizerFast, ViTImageProcessor

__all__ = ["TokenizerError", "image_settings", "load_processor", "load_tokenizer", "read_config", "write_tokenizer"]


def read_config(checkpoint: Checkpoint) -> CLIPSegConfig:
    """Read the architecture's configuration.

    Raises
    ------
    CheckpointError
        transformers cannot read it.
    """
    from transformers import CLIPSegConfig

    try:
        return CLIPSegConfig.from_dict(checkpoint.config)
    except Exception as error:  # a wrong type in it can raise anything
        raise CheckpointError(f"config.json of {checkpoint.name} cannot be read: {error}") from error


def load_tokenizer(checkpoint: Checkpoint) -> CLIPTokenizerFast:
    """Read the tokenizer.

    Raises
    ------
    TokenizerError
        It is missing or unreadable, or its ids are not the text encoder's.
    """
    return clip_tokenizer.load_tokenizer(checkpoint, read_config(checkpoint).text_config)


def load_processor(checkpoint: Checkpoint, size: int | None) -> ViTImageProcessor:
    """Read the image processor.

    Parameters
    ----------
    size
        Side of the square image in pixels; None for the checkpoint's own.

    Raises
    ------
    CheckpointError
        It is missing, unreadable, or uses an unsupported setting.
    ParameterError
        The size is not a multiple of the patch size.
    """
    from transformers import ViTImageProcessor

    processor = image_processor.load_processor(checkpoint, ViTImageProcessor, size)
    side = square_size(processor, checkpoint.name)
    if processor.resample not in PILLOW_FILTERS:
        raise CheckpointError(f"{checkpoint.name} uses resample={processor.resample}; supported: {PILLOW_FILTERS}")
    patch = read_config(checkpoint).vision_config.patch_size
    if side < patch or side % patch:
        raise ParameterError("image size", f"be a multiple of the patch size, {patch}", side)
    return processor


def image_settings(processor: ViTImageProcessor) -> dict[str, Any]:
    """Return ``image.image_encoder`` of the manifest."""
    return {
        **pixel_settings(processor),
        "resize": "stretch",
        "interpolation": PILLOW_FILTERS[processor.resample],
    }
