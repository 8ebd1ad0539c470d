"""A mistake of transformers in SAM-HQ, corrected while a checkpoint runs as the reference."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["corrected"]


@contextmanager
def corrected(network: Any) -> Iterator[None]:  # noqa: ANN401 (transformers' networks share no typed base)
    """Let a SAM-HQ network draw its masks from the image that the decoder's transformer returns.

    transformers 4.57 draws them from the transformer's input instead, with rows and columns exchanged; the authors'
    decoder (SysCV/sam-hq, `mask_decoder_hq.py`) draws them from its output. That input is written over here, because
    it is all that the rest of the decoder sees. Other networks stay as they are.
    """
    if network.config.model_type != "sam_hq":
        yield
        return
    transformer = network.mask_decoder.transformer
    forward = transformer.forward

    def overwriting(*, image_embeddings: Tensor, **inputs: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        tokens, cells = forward(image_embeddings=image_embeddings, **inputs)
        image = cells.transpose(2, 3).reshape(image_embeddings.shape)
        image_embeddings.copy_(image.transpose(2, 3))
        return tokens, cells

    transformer.forward = overwriting
    try:
        yield
    finally:
        del transformer.forward
