"""CLIPSeg as three torch modules: an image is encoded once, a prompt once, and only the small decoder runs per pair."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import CLIPSegForImageSegmentation

__all__ = ["DEPTH", "ImageEncoder", "MaskDecoder", "TextEncoder", "read_layers", "upscaling"]

# Number of the image encoder's layers that the decoder reads, one for each layer of its own.
DEPTH = 3


def read_layers(model: CLIPSegForImageSegmentation) -> list[int]:
    """Return the number of vision layers before each activation, in the decoder's order."""
    count = model.config.vision_config.num_hidden_layers
    # As in transformers, index i means state i + 1, and negative ones count from the end: state 0 is the embedding,
    # state n the output of layer n.
    return [range(count + 1)[i + 1] for i in reversed(model.config.extract_layers)]


def upscaling(model: CLIPSegForImageSegmentation) -> int:
    """Return the side, in pixels of the logits, that one patch becomes; it may differ from the patch size."""
    convolutions = [m for m in model.decoder.transposed_convolution.modules() if isinstance(m, nn.ConvTranspose2d)]
    return math.prod(c.stride[0] for c in convolutions)


class ImageEncoder(nn.Module):
    """The vision transformer up to the last layer that the decoder reads; the others have no effect.

    Parameters
    ----------
    model
        The whole model.
    size
        Side of the image in pixels. transformers' own code interpolates the position embeddings for it, once.
    """

    def __init__(self, model: CLIPSegForImageSegmentation, size: int) -> None:
        super().__init__()
        vision = model.clip.vision_model
        self.config = model.config
        self.reads = read_layers(model)
        self.patch_embedding = vision.embeddings.patch_embedding
        self.class_embedding = vision.embeddings.class_embedding
        self.norm = vision.pre_layrnorm
        self.layers = vision.encoder.layers[: max(self.reads)]
        self.register_buffer("positions", _positions(vision.embeddings, size))

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        """Encode images (batch, 3, size, size) to the activations of the read layers, each (batch, tokens, hidden)."""
        patches = self.patch_embedding(pixel_values).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(pixel_values.shape[0], 1, -1)
        states = [self.norm(torch.cat([first, patches], dim=1) + self.positions)]
        for layer in self.layers:
            states.append(layer(states[-1], attention_mask=None, causal_attention_mask=None)[0])
        return {f"activation_{i}": states[index] for i, index in enumerate(self.reads)}


def _positions(embeddings: nn.Module, size: int) -> Tensor:
    tokens = (size // embeddings.patch_size) ** 2 + 1
    with torch.no_grad():
        positions: Tensor = embeddings.interpolate_pos_encoding(
            torch.zeros(1, tokens, embeddings.embed_dim), size, size
        )
    return positions.detach().clone()


class TextEncoder(nn.Module):
    """CLIP's text transformer and projection."""

    def __init__(self, model: CLIPSegForImageSegmentation) -> None:
        super().__init__()
        self.config = model.config
        self.text_model = model.clip.text_model
        self.text_projection = model.clip.text_projection

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Encode token ids and mask (prompts, length) to embeddings (prompts, projection)."""
        pooled = self.text_model(input_ids=input_ids, attention_mask=attention_mask).pooler_output
        return {"conditional_embedding": self.text_projection(pooled)}


class MaskDecoder(nn.Module):
    """CLIPSeg's decoder, for one image and any number of prompts, or for as many images as prompts.

    Parameters
    ----------
    model
        The whole model.
    size
        Side of the image in pixels.
    """

    def __init__(self, model: CLIPSegForImageSegmentation, size: int) -> None:
        super().__init__()
        self.config = model.config
        self.decoder = model.decoder
        self.side = size // model.config.vision_config.patch_size

    def forward(
        self, activation_0: Tensor, activation_1: Tensor, activation_2: Tensor, conditional_embedding: Tensor
    ) -> dict[str, Tensor]:
        """Decode activations (batch, tokens, hidden) and embeddings (prompts, projection) to logits (prompts, h, w)."""
        decoder = self.decoder
        scale = decoder.film_mul(conditional_embedding)[:, None]
        shift = decoder.film_add(conditional_embedding)[:, None]
        state = decoder.reduces[0](activation_0)
        for i, activation in enumerate((activation_0, activation_1, activation_2)):
            if i > 0:
                state = decoder.reduces[i](activation) + state
            if i == decoder.conditional_layer:
                # Here one image broadcasts to the number of prompts; everything before is computed once.
                state = scale * state + shift
            state = decoder.layers[i](state, attention_mask=None, causal_attention_mask=None)[0]
        cells = state[:, 1:].permute(0, 2, 1).reshape(-1, state.shape[2], self.side, self.side)
        return {"logits": decoder.transposed_convolution(cells).squeeze(1)}
