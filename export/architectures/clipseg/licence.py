"""The licence of CLIPSeg's weights."""

from __future__ import annotations

from ...checkpoint import Checkpoint

__all__ = ["LICENCE_QUESTION", "licence"]

LICENCE_QUESTION = (
    "The licence of CLIPSeg's weights is an open question: the authors' repository puts its code under MIT and says "
    "that this does not apply to the model weights; the model card on the Hub (CIDAS) says Apache-2.0. automask "
    "does not settle it: decide whether that is enough for your use."
)


def licence(checkpoint: Checkpoint) -> str:
    """Return the licence that the model card states, with the open question where it applies."""
    stated = checkpoint.licence
    return f"{stated} (by the model card). {LICENCE_QUESTION}" if _is_by_cidas(checkpoint) else stated


def _is_by_cidas(checkpoint: Checkpoint) -> bool:
    """Whether the weights are the CLIPSeg authors' own, or fine-tuned from them by their card or configuration."""
    names = f"{checkpoint.name} {checkpoint.config.get('_name_or_path', '')} {checkpoint.card}"
    return "cidas/clipseg" in names.lower()
