"""Tokenizer and image processor of OmDet-Turbo, and their settings for the runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from automask.errors import ParameterError

from ... import image_processor
from ...checkpoint import Checkpoint, CheckpointError
from ...image_processor import check_filter, square_size

if TYPE_CHECKING:
    from transformers import DetrImageProcessor

__all__ = ["NMS_IOU", "TASK", "image_settings", "load_processor"]

TASK = "Detect {}."
"""The task, with the phrases joined by ", ": the default of transformers' OmDetTurboProcessor."""

NMS_IOU = 0.5
"""`nms_threshold` of post_process_grounded_object_detection in transformers, and of the authors' run_demo.py."""


def load_processor(checkpoint: Checkpoint, own: int, size: int | None) -> DetrImageProcessor:
    """Read the image processor by itself: the one around it and the tokenizer, OmDetTurboProcessor, needs torchvision.

    Parameters
    ----------
    own
        The image size of the network, in pixels.
    size
        The size asked for; None for the checkpoint's own.

    Raises
    ------
    CheckpointError
        It is missing, unreadable, or uses an unsupported setting.
    ParameterError
        The size is not the network's.
    """
    from transformers import DetrImageProcessor

    if size not in (None, own):
        raise ParameterError("image size", f"be {own} or left out: the windows of this network are cut for it", size)
    processor = image_processor.load_processor(checkpoint, DetrImageProcessor, size)
    side = square_size(processor, checkpoint.name)
    if side != own:
        raise CheckpointError(f"{checkpoint.name} resizes images to {side}, its config.json has image_size {own}")
    check_filter(processor, checkpoint.name)
    return processor


def image_settings(processor: DetrImageProcessor) -> dict[str, Any]:
    """Return ``image.detector_encoder`` of the manifest."""
    return {**image_processor.image_settings(processor, "stretch"), "nms_iou": NMS_IOU}
