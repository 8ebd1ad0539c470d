"""What the CLIPSeg checkpoint itself computes for example inputs.

The reference end to end is `CLIPSegForImageSegmentation.forward` with transformers' tokenizer and image processor: none
of the code that made the graphs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from automask.bundle import Bundle
from automask.session import Session

from ...agreement import MaskAgreement
from ...parity import Array, Case, Image, run_graph

if TYPE_CHECKING:
    from transformers import CLIPSegForImageSegmentation, CLIPTokenizerFast, ViTImageProcessor

    from ...submodels import Submodel

__all__ = ["PROMPTS", "CLIPSegReference"]

Tokens = Mapping[str, Array]

# Short and long, longer than the model reads, empty, and in other scripts.
PROMPTS = (
    "a cup",
    "the cushion on the left",
    "something bright",
    "",
    "the very " * 60 + "old wooden chair",
    "Глаз 猫 🐈",
    "background",
)
_PAIRS = 3


@dataclass(frozen=True)
class CLIPSegReference:
    """Inputs, and the checkpoint's results.

    Attributes
    ----------
    pixels
        Photo, mirrored photo and noise: (3, 3, size, size).
    tokens
        For each number of prompts from one to seven, ids and attention mask.
    cases
        By role, inputs of several batch sizes, numbers of prompts and lengths, and the submodel's outputs.
    one_image
        Logits of the photo for each prompt: (7, size, size).
    pairs
        Logits of the three images, each with its own prompt: (3, size, size).
    """

    pixels: Array
    tokens: Sequence[Tokens]
    cases: Mapping[str, Sequence[Case]]
    one_image: Array
    pairs: Array

    @classmethod
    def run(
        cls,
        network: CLIPSegForImageSegmentation,
        tokenizer: CLIPTokenizerFast,
        processor: ViTImageProcessor,
        submodels: Mapping[str, Submodel],
        photo: Image,
    ) -> Self:
        """Run the checkpoint.

        Parameters
        ----------
        submodels
            By role.
        photo
            RGB, (height, width, 3).
        """
        noise = np.random.default_rng(0).integers(0, 256, photo.shape).astype(np.uint8)
        images = [photo, np.ascontiguousarray(photo[:, ::-1]), noise]
        pixels = processor(images, return_tensors="np")["pixel_values"]
        longest = network.config.text_config.max_position_embeddings
        tokens = [
            dict(tokenizer(list(PROMPTS[:n]), padding=True, truncation=True, max_length=longest, return_tensors="np"))
            for n in range(1, len(PROMPTS) + 1)
        ]
        repeated = np.broadcast_to(pixels[:1], (len(PROMPTS), *pixels.shape[1:]))
        return cls(
            pixels,
            tokens,
            _cases(submodels, pixels, tokens),
            _forward(network, repeated, tokens[-1]),
            _forward(network, pixels, tokens[_PAIRS - 1]),
        )

    def compare(self, bundle: Bundle, graphs: Mapping[str, Session]) -> MaskAgreement:
        """Compare logits of the graphs and of the checkpoint; see `automask.export.parity.Reference`."""
        del bundle  # the graphs alone decide
        agreement = MaskAgreement()
        one, three = (
            run_graph(graphs["image_encoder"], {"pixel_values": pixels}) for pixels in (self.pixels[:1], self.pixels)
        )
        for count, tokens in enumerate(self.tokens, start=1):
            embedding = run_graph(graphs["text_encoder"], tokens)
            agreement.add(run_graph(graphs["mask_decoder"], one | embedding)["logits"], self.one_image[:count])
            if count == _PAIRS:
                agreement.add(run_graph(graphs["mask_decoder"], three | embedding)["logits"], self.pairs)
        return agreement


def _forward(network: CLIPSegForImageSegmentation, pixels: Array, tokens: Tokens) -> Array:
    feed = {name: torch.tensor(array) for name, array in {**tokens, "pixel_values": pixels}.items()}
    with torch.inference_mode():
        logits = network(**feed).logits.numpy()
    return np.asarray(logits).reshape(len(pixels), *logits.shape[-2:])


def _cases(submodels: Mapping[str, Submodel], pixels: Array, tokens: Sequence[Tokens]) -> dict[str, list[Case]]:
    def run(role: str, inputs: Mapping[str, Array]) -> tuple[Mapping[str, Array], dict[str, Array]]:
        return inputs, submodels[role].run(inputs)

    images = [run("image_encoder", {"pixel_values": pixels[:n]}) for n in (1, _PAIRS)]
    texts = [run("text_encoder", one) for one in tokens]
    one, three = (activations for _, activations in images)
    embeddings = [outputs for _, outputs in texts]
    inputs = [one | embeddings[n - 1] for n in (1, 2, len(PROMPTS))] + [three | embeddings[_PAIRS - 1]]
    masks = [run("mask_decoder", feed) for feed in inputs]
    return {"image_encoder": [*images], "text_encoder": [*texts], "mask_decoder": [*masks]}
