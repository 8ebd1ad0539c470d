"""What a checkpoint of OWL-ViT or OWLv2 itself computes for example inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...agreement_boxes import FoundBoxes
from ...free_text.reference import FinderReference, pixel_values, run_submodel
from ...parity import Array, Case, Image

if TYPE_CHECKING:
    from ...free_text.model import FreeTextModel

__all__ = ["OwlReference"]

# The sentence that the text encoder reads, for each phrase.
_TEXTS = {
    "cup": "a photo of a cup",
    "the red cushion on the left": "a photo of the red cushion on the left",
    "something bright": "a photo of a something bright",
    "old wooden chair with a striped seat": "a photo of a old wooden chair with a striped seat",
    "кошка": "a photo of a кошка",
    "my hat": "a photo of my hat",
    "background": "a photo of a background",
}


class OwlReference(FinderReference):
    """Inputs, and the checkpoint's results."""

    @classmethod
    def detect(cls, model: FreeTextModel, image: Image, phrases: Sequence[str]) -> FoundBoxes:
        """Return all boxes, each with its best phrase, clipped to the image; see `FinderReference`."""
        pixels = pixel_values(model, image)
        feed = {**_tokenize(model, phrases), "pixel_values": pixels}
        side = model.network.config.vision_config.image_size
        with torch.inference_mode():
            outputs = model.network(
                **{name: torch.tensor(array) for name, array in feed.items()},
                interpolate_pos_encoding=pixels.shape[-1] != side,
            )
        height, width = image.shape[:2]
        (found,) = model.processor.post_process_object_detection(
            outputs, threshold=-1.0, target_sizes=[(height, width)]
        )
        boxes = np.clip(found["boxes"].numpy(), 0, np.array([width, height] * 2, np.float32))
        inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)  # others lie in the padding of OWLv2
        labels = tuple(phrases[index] for index in found["labels"][inside].tolist())
        return FoundBoxes(boxes[inside], found["scores"].numpy()[inside], labels)

    @classmethod
    def run_submodels(cls, model: FreeTextModel, images: Sequence[Image]) -> dict[str, list[Case]]:
        """Run detector and text encoder; see `FinderReference`."""
        detector, text_encoder = model.submodels["detector"], model.submodels["text_encoder"]
        tokens = [_tokenize(model, phrases) for phrases in cls.prompts()]
        alone = [{name: array[:1, :length] for name, array in tokens[0].items()} for length in (4, 7)]
        return {
            # One by one, as the runtime: attention over 3,601 tokens takes gigabytes for each image.
            "detector": [run_submodel(detector, {"pixel_values": pixel_values(model, image)}) for image in images],
            "text_encoder": [run_submodel(text_encoder, words) for words in (*tokens, *alone)],
        }


def _tokenize(model: FreeTextModel, phrases: Sequence[str]) -> Mapping[str, Array]:
    """Return ids and mask of phrases in their sentences; of a phrase alone whose sentence is too long."""
    tokenizer, longest = model.tokenizer, model.network.config.text_config.max_position_embeddings
    texts = [
        _TEXTS[phrase] if len(tokenizer(_TEXTS[phrase], verbose=False).input_ids) <= longest else phrase
        for phrase in phrases
    ]
    return dict(tokenizer(texts, padding="max_length", truncation=True, max_length=longest, return_tensors="np"))
