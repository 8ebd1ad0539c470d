"""What a checkpoint of OWL-ViT or OWLv2 itself computes for example inputs.

The reference end to end is the model's `forward` with transformers' tokenizer, image processor and post-processing:
none of the code that made the graphs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from automask.bundle import Bundle
from automask.session import Session

from ...agreement_boxes import BoxAgreement, FoundBoxes
from ...finding import calibrate, find_boxes
from ...parity import Array, Case, Image

if TYPE_CHECKING:
    from transformers import CLIPTokenizerFast

    from ...submodels import Submodel

__all__ = ["TEXTS", "OwlReference"]

# What is looked for, and the sentence that the text encoder reads.
TEXTS = {
    "cup": "a photo of a cup",
    "the red cushion on the left": "a photo of the red cushion on the left",
    "something bright": "a photo of a something bright",
    "old wooden chair with a striped seat": "a photo of a old wooden chair with a striped seat",
    "кошка": "a photo of a кошка",
    "my hat": "a photo of my hat",
    "background": "a photo of a background",
}
_COUNTS = (1, 2, 7)


@dataclass(frozen=True)
class OwlReference:
    """Inputs, and the checkpoint's results.

    Attributes
    ----------
    cases
        By role, inputs of several images, numbers of phrases and lengths, and the submodel's outputs.
    images
        A photo, the same upright, and a small part of it.
    expected
        For each image, what was found for 1, 2 and 7 phrases.
    """

    cases: Mapping[str, Sequence[Case]]
    images: Sequence[Image]
    expected: Sequence[Sequence[FoundBoxes]]

    @classmethod
    def run(
        cls,
        network: Any,  # noqa: ANN401 (either of two classes, as the processor)
        tokenizer: CLIPTokenizerFast,
        processor: Any,  # noqa: ANN401
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
        part = photo[: photo.shape[0] // 8, : photo.shape[1] // 8]
        images = [photo, np.ascontiguousarray(photo[::-1].transpose(1, 0, 2)), np.ascontiguousarray(part)]
        pixels = [
            processor(image, return_tensors="np", input_data_format="channels_last")["pixel_values"] for image in images
        ]
        longest = network.config.text_config.max_position_embeddings
        tokens = [_tokenize(tokenizer, tuple(TEXTS)[:count], longest) for count in _COUNTS]
        expected = [
            [_detect(network, processor, one, words, image.shape[:2]) for words in tokens]
            for one, image in zip(pixels, images, strict=True)
        ]
        return cls(_cases(submodels, np.concatenate(pixels), tokens), images, expected)

    def compare(self, bundle: Bundle, graphs: Mapping[str, Session]) -> BoxAgreement:
        """Compare the graphs with the checkpoint; see `automask.export.parity.Reference`."""
        agreement = BoxAgreement()
        prompts = [tuple(TEXTS)[:count] for count in _COUNTS]
        for image, expected in zip(self.images, self.expected, strict=True):
            for found, one in zip(find_boxes(bundle, graphs, image, prompts), expected, strict=True):
                calibrated = FoundBoxes(one.boxes, calibrate(bundle, one.scores), one.labels)
                agreement.add(found, calibrated, image.shape[:2])
        return agreement


def _tokenize(tokenizer: CLIPTokenizerFast, phrases: Sequence[str], longest: int) -> Mapping[str, Array]:
    """Return ids and mask of phrases in their sentences; of a phrase alone whose sentence is too long."""
    texts = [
        TEXTS[phrase] if len(tokenizer(TEXTS[phrase], verbose=False).input_ids) <= longest else phrase
        for phrase in phrases
    ]
    return dict(tokenizer(texts, padding="max_length", truncation=True, max_length=longest, return_tensors="np"))


def _detect(
    network: Any,  # noqa: ANN401
    processor: Any,  # noqa: ANN401
    pixels: Array,
    tokens: Mapping[str, Array],
    size: tuple[int, ...],
) -> FoundBoxes:
    """Return all boxes of one image, each with its best phrase, clipped to the image, with its raw score."""
    feed = {name: torch.tensor(array) for name, array in {**tokens, "pixel_values": pixels}.items()}
    side = network.config.vision_config.image_size
    with torch.inference_mode():
        outputs = network(**feed, interpolate_pos_encoding=pixels.shape[-1] != side)
    (found,) = processor.post_process_object_detection(outputs, threshold=-1.0, target_sizes=[size[:2]])
    limits = np.array([size[1], size[0]] * 2, np.float32)
    boxes, names = np.clip(found["boxes"].numpy(), 0, limits), tuple(TEXTS)
    inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)  # others lie in the padding of OWLv2
    labels = tuple(names[index] for index in found["labels"][inside].tolist())
    return FoundBoxes(boxes[inside], found["scores"].numpy()[inside], labels)


def _cases(
    submodels: Mapping[str, Submodel], pixels: Array, tokens: Sequence[Mapping[str, Array]]
) -> dict[str, list[Case]]:
    def run(role: str, inputs: Mapping[str, Array]) -> Case:
        return inputs, submodels[role].run(inputs)

    alone = [{name: array[:1, :length] for name, array in tokens[0].items()} for length in (4, 7)]
    return {
        # One by one, as the runtime: attention over 3,601 tokens takes gigabytes for each image.
        "detector": [run("detector", {"pixel_values": one[None]}) for one in pixels],
        "text_encoder": [run("text_encoder", words) for words in (*tokens, *alone)],
    }
