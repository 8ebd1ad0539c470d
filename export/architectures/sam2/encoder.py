"""SAM 2's image encoder: any backbone, and the pyramid of features that the mask decoder reads."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

__all__ = ["ImageEncoder"]


class ImageEncoder(nn.Module):
    """The image encoder, and the part of the mask decoder that depends on the image alone.

    Parameters
    ----------
    network
        The whole network of transformers.
    vision
        Its image encoder, or one that computes the same.
    """

    def __init__(self, network: Any, vision: nn.Module) -> None:  # noqa: ANN401 (networks share no typed base)
        super().__init__()
        self.config, self.vision = network.config, vision
        self.fine, self.medium = network.mask_decoder.conv_s0, network.mask_decoder.conv_s1
        # What the network adds to an image that follows no frames of a video.
        self.register_buffer("no_memory", network.no_memory_embedding.detach().clone().reshape(1, -1, 1, 1))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Encode an image (1, 3, size, size).

        Returns
        -------
        dict
            ``image_embedding`` (1, hidden, size / 16, size / 16), ``medium_features`` (1, hidden / 4, size / 8,
            size / 8) and ``fine_features`` (1, hidden / 8, size / 4, size / 4).
        """
        fine, medium, coarse = self.vision(image).fpn_hidden_states
        return {
            "image_embedding": coarse + self.no_memory,
            "medium_features": self.medium(medium),
            "fine_features": self.fine(fine),
        }
