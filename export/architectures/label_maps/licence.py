"""The licence of a semantic segmentation net's weights."""

from __future__ import annotations

from ...checkpoint import Checkpoint

__all__ = ["NVIDIA", "licence"]

NVIDIA = (
    "NVIDIA Source Code License for SegFormer: research or evaluation only, not commercially; it passes on to what is "
    "made of the weights"
)


def licence(checkpoint: Checkpoint) -> str:
    """Return the licence that the model card states; for NVIDIA's SegFormer and its fine-tunes also what it forbids."""
    stated = checkpoint.licence
    names = f"{checkpoint.name} {checkpoint.config.get('_name_or_path', '')} {checkpoint.card}".lower()
    return f"{stated} ({NVIDIA})" if "nvidia/segformer" in names or "nvidia/mit-b" in names else stated
