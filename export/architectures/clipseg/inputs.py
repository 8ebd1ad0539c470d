"""CLIPSeg's image processor, and its settings for the runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automask.errors import ParameterError

from ... import image_processor
from ...checkpoint import Checkpoint
from ...image_processor import check_filter, square_size

if TYPE_CHECKING:
    from transformers import ViTImageProcessor

__all__ = ["load_processor"]


def load_processor(checkpoint: Checkpoint, patch: int, size: int | None) -> ViTImageProcessor:
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
    from transformers import ViTImageProcessor

    processor = image_processor.load_processor(checkpoint, ViTImageProcessor, size)
    side = square_size(processor, checkpoint.name)
    check_filter(processor, checkpoint.name)
    if side < patch or side % patch:
        raise ParameterError("image size", f"be a multiple of the patch size, {patch}", side)
    return processor
