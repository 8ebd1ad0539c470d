"""What a SAM 3 checkpoint itself computes for example inputs.

The reference end to end is the model's own `forward`, on texts that are padded as transformers' processor pads them,
and on pixels that Pillow resizes: none of the code that made the graphs. Sam3Processor itself needs torchvision; the
project's tests compare with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import PIL.Image
import torch

from automask.bundle import Bundle
from automask.session import Session

from ...agreement_boxes import FoundBoxes
from ...agreement_instances import Detections, InstanceAgreement
from ...finding import calibrate, find_instances
from ...parity import Array, Case, Image
from .exemplars import without_torchvision
from .inputs import LENGTH
from .modules import LEVELS

if TYPE_CHECKING:
    from transformers import CLIPTokenizerFast

__all__ = ["PHRASES", "Sam3Reference", "resize"]

# Examples of what is looked for and of what is not: centre and size in shares of the picture, and labels.
_EXAMPLE = (
    torch.tensor([[[0.3, 0.4, 0.25, 0.5], [0.9, 0.1, 0.3, 0.01]]]),
    torch.tensor([[1, 0]]),
)

PHRASES = ("cup", "the red cushion on the left", "something bright")


@dataclass(frozen=True)
class Sam3Reference:
    """Inputs, and the checkpoint's results.

    Attributes
    ----------
    cases
        By role, inputs and the outputs of transformers' own methods.
    photo
        The picture.
    expected
        For each phrase, what the detector found in it.
    """

    cases: Mapping[str, Sequence[Case]]
    photo: Image
    expected: Sequence[Detections]

    @classmethod
    def run(
        cls,
        network: Any,  # noqa: ANN401 (Sam3Model or Sam3LiteTextModel of transformers)
        tokenizer: CLIPTokenizerFast,
        processor: SimpleNamespace,
        pad_to: int | None,
        photo: Image,
    ) -> Self:
        """Run the checkpoint.

        Parameters
        ----------
        pad_to
            Length of the texts that the graph takes; None for any.
        photo
            RGB, (height, width, 3).
        """
        pixels = resize(photo, processor)
        texts = tokenizer(list(PHRASES), padding="max_length", max_length=LENGTH, return_tensors="pt")
        with torch.inference_mode():
            vision = network.get_vision_features(pixels)
            features = network.get_text_features(**texts).pooler_output
            found = [_detect(network, vision, texts, [index]) for index in range(len(PHRASES))]
            two = _detect(network, vision, texts, [0, 1])
            example = _encode_example(network, vision)
            beside = _detect(network, vision, texts, [0], input_boxes=_EXAMPLE[0], input_boxes_labels=_EXAMPLE[1])
        levels = {name: one.numpy() for name, one in zip(LEVELS, vision.fpn_hidden_states, strict=False)}
        cases: dict[str, list[Case]] = {
            "vision_encoder": [({"pixel_values": pixels.numpy()}, levels)],
            "text_encoder": [_text_case(texts, features, index, pad_to) for index in range(len(PHRASES))],
            "exemplar_encoder": [
                (
                    {"fpn_2": levels["fpn_2"], "boxes": _EXAMPLE[0][0].numpy(), "labels": _EXAMPLE[1][0].numpy()},
                    {"features": example.numpy()},
                )
            ],
            "detector": [
                (levels | _prompts(texts, features, [0]), found[0]),
                (levels | _prompts(texts, features, [0, 1]), two),
                (levels | _add_example(_prompts(texts, features, [0]), example), beside),
            ],
        }
        expected = [Detections({name: one[0] for name, one in outputs.items()}) for outputs in found]
        return cls(cases, photo, expected)

    def compare(self, bundle: Bundle, graphs: Mapping[str, Session]) -> InstanceAgreement:
        """Compare the graphs with the checkpoint; see `automask.export.parity.Reference`."""
        agreement = InstanceAgreement()
        size = self.photo.shape[:2]
        for phrase, expected in zip(PHRASES, self.expected, strict=True):
            boxes, detections = find_instances(bundle, graphs, self.photo, phrase)
            scores = calibrate(bundle, expected.scores)
            wanted = FoundBoxes(expected.boxes_in(size), scores, (phrase,) * len(scores))
            agreement.add(boxes, wanted, size)
            agreement.add_masks(detections, expected, scores)
        return agreement


def resize(photo: Image, processor: SimpleNamespace) -> torch.Tensor:
    """Return a photo as the model takes it, (1, 3, size, size).

    It is resized by Pillow. transformers uses torchvision, where up to a hundredth of the values differ by one of 255,
    more or fewer on other processors; that is no error of a graph.
    """
    size = (processor.size["width"], processor.size["height"])
    picture = np.asarray(PIL.Image.fromarray(photo).resize(size, processor.resample), np.float32)
    resized = torch.from_numpy(picture.transpose(2, 0, 1))[None]
    if processor.do_rescale:
        resized = resized * processor.rescale_factor
    if processor.do_normalize:
        mean, std = (torch.tensor(one).view(1, 3, 1, 1) for one in (processor.image_mean, processor.image_std))
        resized = (resized - mean) / std
    return resized


def _detect(
    network: Any,  # noqa: ANN401
    vision: Any,  # noqa: ANN401
    texts: Mapping[str, torch.Tensor],
    rows: Sequence[int],
    **example: torch.Tensor,
) -> dict[str, Array]:
    """Return the outputs of the whole model for some texts on one picture, by the names of the graph's outputs."""
    repeated = type(vision)(
        **{
            name: tuple(one.expand(len(rows), -1, -1, -1) for one in getattr(vision, name))
            for name in ("fpn_hidden_states", "fpn_position_encoding")
        }
    )
    with without_torchvision(network):
        outputs = network(vision_embeds=repeated, **{name: one[list(rows)] for name, one in texts.items()}, **example)
    return {
        "boxes": outputs.pred_boxes.numpy(),
        "logits": outputs.pred_logits.numpy(),
        "presence": outputs.presence_logits.numpy(),
        "masks": outputs.pred_masks.numpy(),
        "semantic": outputs.semantic_seg.numpy(),
    }


def _encode_example(network: Any, vision: Any) -> torch.Tensor:  # noqa: ANN401
    """Return the features of the examples on a picture, (boxes + 1, d), by transformers' own encoder."""
    boxes, labels = _EXAMPLE
    with without_torchvision(network):
        encoded = network.geometry_encoder(
            box_embeddings=boxes,
            box_mask=torch.ones_like(labels, dtype=torch.bool),
            box_labels=labels,
            img_feats=vision.fpn_hidden_states[:-1],
            img_pos_embeds=vision.fpn_position_encoding[:-1],
        )
    features: torch.Tensor = encoded.last_hidden_state[0]
    return features


def _add_example(prompts: Mapping[str, Array], example: torch.Tensor) -> dict[str, Array]:
    """Return the detector's inputs of one text with the features of examples behind it."""
    features = np.concatenate((prompts["features"], example.numpy()[None]), axis=1)
    return {"features": features, "mask": np.ones(features.shape[:2], np.int64)}


def _text_case(texts: Mapping[str, torch.Tensor], features: torch.Tensor, row: int, pad_to: int | None) -> Case:
    """Return a text as the graph takes it, and its features: of an unpadded one, those before the padding."""
    mask = texts["attention_mask"][row : row + 1]
    length = int(mask.sum()) if pad_to is None else pad_to
    inputs = {"input_ids": texts["input_ids"][row : row + 1, :length].numpy()}
    if pad_to is not None:
        inputs["attention_mask"] = mask.numpy()
    return inputs, {"features": features[row : row + 1, :length].numpy()}


def _prompts(texts: Mapping[str, torch.Tensor], features: torch.Tensor, rows: Sequence[int]) -> dict[str, Array]:
    """Return texts as the detector takes them, no longer than the longest."""
    mask = texts["attention_mask"][list(rows)]
    length = int(mask.sum(dim=1).max())
    return {"features": features[list(rows), :length].numpy(), "mask": mask[:, :length].numpy()}
