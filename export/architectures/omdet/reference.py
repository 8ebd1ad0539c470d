"""What an OmDet-Turbo checkpoint itself computes for example inputs.

The reference end to end is the model's `forward` with transformers' tokenizer, image processor and post-processing:
none of the code that made the graphs. OmDetTurboProcessor, which holds the three together, needs torchvision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self
from unittest.mock import patch

import numpy as np
import torch

from automask.bundle import Bundle
from automask.families.finders.ranking import distinct
from automask.session import Session

from ...agreement_boxes import BoxAgreement, FoundBoxes
from ...finding import calibrate, find_boxes
from ...parity import Array, Case, Image
from .inputs import NMS_IOU

if TYPE_CHECKING:
    from transformers import CLIPTokenizerFast, DetrImageProcessor, OmDetTurboForObjectDetection

    from ...submodels import Submodel

__all__ = ["PHRASES", "OmDetReference"]

PHRASES = (
    "cup",
    "the red cushion on the left",
    "something bright",
    "old wooden chair with a striped seat",
    "кошка",
    "my hat",
    "background",
)
_COUNTS = (1, 2, 7)


@dataclass(frozen=True)
class OmDetReference:
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
        network: OmDetTurboForObjectDetection,
        tokenizer: CLIPTokenizerFast,
        processor: DetrImageProcessor,
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
        texts = [_tokenize(tokenizer, PHRASES[:count], network) for count in _COUNTS]
        expected = [
            [_detect(network, one, PHRASES[:count], words, image) for count, words in zip(_COUNTS, texts, strict=True)]
            for one, image in zip(pixels, images, strict=True)
        ]
        return cls(_cases(submodels, np.concatenate(pixels), texts), images, expected)

    def compare(self, bundle: Bundle, graphs: Mapping[str, Session]) -> BoxAgreement:
        """Compare the graphs with the checkpoint; see `automask.export.parity.Reference`."""
        agreement = BoxAgreement()
        prompts = [PHRASES[:count] for count in _COUNTS]
        for image, expected in zip(self.images, self.expected, strict=True):
            for found, one in zip(find_boxes(bundle, graphs, image, prompts), expected, strict=True):
                calibrated = FoundBoxes(one.boxes, calibrate(bundle, one.scores), one.labels)
                agreement.add(found, calibrated, image.shape[:2])
        return agreement


@dataclass(frozen=True)
class _Texts:
    """Token ids and masks of classes, (classes, 77), and of their task, (1, 77)."""

    classes: Mapping[str, torch.Tensor]
    task: Mapping[str, torch.Tensor]


def _tokenize(tokenizer: CLIPTokenizerFast, phrases: Sequence[str], network: OmDetTurboForObjectDetection) -> _Texts:
    longest = network.config.text_config.max_position_embeddings
    options: dict[str, Any] = {
        "padding": "max_length",
        "truncation": True,
        "max_length": longest,
        "return_tensors": "pt",
    }
    task = f"Detect {', '.join(phrases)}."
    return _Texts(tokenizer(list(phrases), **options), tokenizer([task], **options))


def _detect(
    network: OmDetTurboForObjectDetection, pixels: Array, phrases: Sequence[str], texts: _Texts, image: Image
) -> FoundBoxes:
    """Return the boxes of one image after transformers' post-processing without a threshold, with raw scores."""
    # Not `from … import`, which asks for torchvision.
    processing: Any = import_module("transformers.models.omdet_turbo.processing_omdet_turbo")
    with torch.inference_mode():
        outputs = network(
            pixel_values=torch.tensor(pixels),
            classes_input_ids=texts.classes["input_ids"],
            classes_attention_mask=texts.classes["attention_mask"],
            tasks_input_ids=texts.task["input_ids"],
            tasks_attention_mask=texts.task["attention_mask"],
            classes_structure=torch.tensor([len(phrases)]),
        )
        scores, labels = processing.compute_score(outputs.decoder_class_logits)
        with patch.object(processing, "batched_nms", _suppress, create=True):
            boxes, best, indices = processing._post_process_boxes_for_image(  # noqa: SLF001
                outputs.decoder_coord_logits[0],
                scores[0],
                labels,
                len(phrases),
                image.shape[:2],
                threshold=-1.0,
                nms_threshold=NMS_IOU,
                max_num_det=scores.numel(),  # the default drops all but as many as there are queries
            )
    return _without_doubles(boxes.numpy(), best.numpy(), [phrases[index] for index in indices.tolist()])


def _suppress(boxes: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor, iou: float) -> torch.Tensor:
    """Return the boxes that overlap no better one of their label by more than `iou`: torchvision's `batched_nms`."""
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    waiting, kept = scores.argsort(descending=True), []
    while len(waiting):
        best, waiting = waiting[0], waiting[1:]
        kept.append(best)
        sides = torch.minimum(boxes[best, 2:], boxes[waiting, 2:]) - torch.maximum(boxes[best, :2], boxes[waiting, :2])
        shared = sides.clamp(min=0).prod(dim=1)
        overlap = shared / (areas[best] + areas[waiting] - shared)
        waiting = waiting[(overlap <= iou) | (labels[waiting] != labels[best])]
    return torch.stack(kept)


def _without_doubles(boxes: Array, scores: Array, labels: Sequence[str]) -> FoundBoxes:
    """Leave out what the runtime leaves out as well: boxes without area, and an object that another phrase found."""
    inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    boxes, scores, labels = boxes[inside], scores[inside], [labels[int(index)] for index in np.flatnonzero(inside)]
    kept = distinct(boxes, scores, labels, 0.0)
    return FoundBoxes(boxes[kept], scores[kept], tuple(labels[index] for index in kept))


def _cases(submodels: Mapping[str, Submodel], pixels: Array, texts: Sequence[_Texts]) -> dict[str, list[Case]]:
    def run(role: str, inputs: Mapping[str, Array]) -> Case:
        return inputs, submodels[role].run(inputs)

    def encode(tokens: Mapping[str, torch.Tensor]) -> Case:
        length = int(tokens["attention_mask"].sum(dim=1).max())
        return run("text_encoder", {"input_ids": tokens["input_ids"][:, :length].numpy()})

    images = [run("detector_encoder", {"pixel_values": one[None]}) for one in pixels]
    cells = images[0][1]
    classes, tasks = [encode(one.classes) for one in texts], [encode(one.task) for one in texts]
    detections = [
        run("detector", {**cells, "class_embeds": words["class_embeds"], "task": task["features"][0]})
        for (_, words), (_, task) in zip(classes, tasks, strict=True)
    ]
    return {"text_encoder": [*classes, *tasks], "detector_encoder": images, "detector": detections}
