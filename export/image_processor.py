"""Image processors of transformers: read from a checkpoint, and their settings for the runtime."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from .checkpoint import Checkpoint, CheckpointError

__all__ = ["PILLOW_FILTERS", "check_filter", "image_settings", "load_processor", "pixel_settings", "square_size"]

# Pillow's own numbers, which preprocessor_config.json uses.
PILLOW_FILTERS = {0: "pillow_nearest", 1: "pillow_lanczos", 2: "pillow_bilinear", 3: "pillow_bicubic"}

P = TypeVar("P")


def load_processor(checkpoint: Checkpoint, kind: type[P], size: int | None) -> P:
    """Read the image processor.

    Parameters
    ----------
    kind
        Its class.
    size
        Side of the square image in pixels; None for the checkpoint's own.

    Raises
    ------
    CheckpointError
        It is missing or unreadable.
    """
    path = checkpoint.folder / "preprocessor_config.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        settings.pop("image_processor_type", None)  # older files name classes that no longer exist
        settings.pop("feature_extractor_type", None)
        return kind(**settings | ({} if size is None else {"size": {"height": size, "width": size}}))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{checkpoint.name} has no preprocessor_config.json, the settings of its image processor"
        ) from error
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"preprocessor_config.json of {checkpoint.name} cannot be read: {error}") from error


def square_size(processor: Any, name: str) -> int:  # noqa: ANN401 (transformers' processors share no typed base)
    """Return the side of the square, in pixels, that a processor resizes images to.

    Raises
    ------
    CheckpointError
        It resizes them to something else.
    """
    height, width = processor.size.get("height"), processor.size.get("width")
    if height != width or height is None or not processor.do_resize:
        raise CheckpointError(f"{name} must resize images to a square, got size {dict(processor.size)}")
    return int(height)


def check_filter(processor: Any, name: str) -> None:  # noqa: ANN401
    """Check that the runtime has the filter with which a processor resizes images.

    Raises
    ------
    CheckpointError
        It has not.
    """
    if processor.resample not in PILLOW_FILTERS:
        raise CheckpointError(f"{name} uses resample={processor.resample}; supported: {PILLOW_FILTERS}")


def image_settings(processor: Any, resize: str) -> dict[str, Any]:  # noqa: ANN401
    """Return a processor's settings as the manifest has them; `resize` is ``stretch`` or ``longest_side``."""
    return {**pixel_settings(processor), "resize": resize, "interpolation": PILLOW_FILTERS[processor.resample]}


def pixel_settings(processor: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return size, mean and std of a processor as the manifest has them: in units of 0..255, rescaling included."""
    factor = processor.rescale_factor if processor.do_rescale else 1.0
    mean = processor.image_mean if processor.do_normalize else [0.0] * 3
    std = processor.image_std if processor.do_normalize else [1.0] * 3
    return {
        "size": processor.size.get("height", processor.size.get("longest_edge")),
        "mean": [value / factor for value in mean],
        "std": [value / factor for value in std],
    }
