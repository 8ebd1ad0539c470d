"""What an OmDet-Turbo checkpoint itself computes for example inputs.

OmDetTurboProcessor, which holds tokenizer, image processor and post-processing together, needs torchvision; its parts
do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import torch

from automask.families.finders.ranking import distinct

from ...agreement_boxes import FoundBoxes
from ...free_text.reference import FinderReference, pixel_values, run_submodel
from ...parity import Array, Case, Image
from .inputs import NMS_IOU, TASK

if TYPE_CHECKING:
    from ...free_text.model import FreeTextModel

__all__ = ["OmDetReference"]

_Tokens = Mapping[str, torch.Tensor]


class OmDetReference(FinderReference):
    """Inputs, and the checkpoint's results."""

    @classmethod
    def detect(cls, model: FreeTextModel, image: Image, phrases: Sequence[str]) -> FoundBoxes:
        """Return the boxes after transformers' post-processing without a threshold; see `FinderReference`."""
        # Not `from … import`, which asks for torchvision.
        processing: Any = import_module("transformers.models.omdet_turbo.processing_omdet_turbo")
        classes, task = _tokenize(model, phrases), _tokenize(model, [TASK.format(", ".join(phrases))])
        with torch.inference_mode():
            outputs = model.network(
                pixel_values=torch.tensor(pixel_values(model, image)),
                classes_input_ids=classes["input_ids"],
                classes_attention_mask=classes["attention_mask"],
                tasks_input_ids=task["input_ids"],
                tasks_attention_mask=task["attention_mask"],
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

    @classmethod
    def run_submodels(cls, model: FreeTextModel, images: Sequence[Image]) -> dict[str, list[Case]]:
        """Run text encoder, image encoder and detector; see `FinderReference`."""
        text_encoder, image_encoder, detector = (
            model.submodels[role] for role in ("text_encoder", "detector_encoder", "detector")
        )

        def encode(texts: Sequence[str]) -> Case:
            tokens = _tokenize(model, texts)
            length = int(tokens["attention_mask"].sum(dim=1).max())
            return run_submodel(text_encoder, {"input_ids": tokens["input_ids"][:, :length].numpy()})

        encoded = [run_submodel(image_encoder, {"pixel_values": pixel_values(model, image)}) for image in images]
        cells = encoded[0][1]
        classes = [encode(phrases) for phrases in cls.prompts()]
        tasks = [encode([TASK.format(", ".join(phrases))]) for phrases in cls.prompts()]
        detections = [
            run_submodel(detector, {**cells, "class_embeds": words["class_embeds"], "task": task["features"][0]})
            for (_, words), (_, task) in zip(classes, tasks, strict=True)
        ]
        return {"text_encoder": [*classes, *tasks], "detector_encoder": encoded, "detector": detections}


def _tokenize(model: FreeTextModel, texts: Sequence[str]) -> _Tokens:
    """Return token ids and masks, (texts, 77)."""
    longest = model.network.config.text_config.max_position_embeddings
    tokens: _Tokens = model.tokenizer(
        list(texts), padding="max_length", truncation=True, max_length=longest, return_tensors="pt"
    )
    return tokens


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
