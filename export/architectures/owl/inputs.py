"""Tokenizer and image processor of OWL-ViT and OWLv2, and their settings for the runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from automask.errors import ParameterError

from ... import image_processor
from ...checkpoint import Checkpoint, CheckpointError
from ...image_processor import check_filter, pixel_settings, square_size

if TYPE_CHECKING:
    from transformers import Owlv2ImageProcessor, OwlViTImageProcessor

__all__ = ["TEMPLATE", "image_settings", "load_processor"]

TEMPLATE = "a photo of a {}"
"""The sentence around a phrase, as on the model cards of google/owlvit-* and google/owlv2-*."""


def load_processor(checkpoint: Checkpoint, patch: int, size: int | None) -> OwlViTImageProcessor | Owlv2ImageProcessor:
    """Read the image processor.

    Parameters
    ----------
    patch
        Side of a patch in pixels.
    size
        Side of the square image in pixels; None for the checkpoint's own.

    Raises
    ------
    CheckpointError
        It is missing, unreadable, or uses an unsupported setting.
    ParameterError
        The size is not a multiple of the patch size.
    """
    from transformers import Owlv2ImageProcessor, OwlViTImageProcessor

    kind: Any = Owlv2ImageProcessor if checkpoint.config["model_type"] == "owlv2" else OwlViTImageProcessor
    processor = image_processor.load_processor(checkpoint, kind, size)
    side = square_size(processor, checkpoint.name)
    if kind is Owlv2ImageProcessor:
        if not (processor.do_pad and processor.do_rescale):
            raise CheckpointError(f"{checkpoint.name} must pad images to a square and rescale them")
    elif processor.do_center_crop and dict(processor.crop_size) != dict(processor.size):
        raise CheckpointError(
            f"{checkpoint.name} must not crop images, got crop_size {dict(processor.crop_size)} for size "
            f"{dict(processor.size)}"
        )
    else:
        check_filter(processor, checkpoint.name)
    if side < patch or side % patch:
        raise ParameterError("image size", f"be a multiple of the patch size, {patch}", side)
    return processor


def image_settings(processor: OwlViTImageProcessor | Owlv2ImageProcessor) -> dict[str, Any]:
    """Return ``image.detector`` of the manifest."""
    from transformers import Owlv2ImageProcessor

    if isinstance(processor, Owlv2ImageProcessor):
        # It ignores its own setting `resample`, and resizes as scikit-image does.
        return {**pixel_settings(processor), "resize": "pad", "padding": [127.5] * 3, "interpolation": "scikit_image"}
    return image_processor.image_settings(processor, "stretch")
