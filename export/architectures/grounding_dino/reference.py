"""What a checkpoint of Grounding DINO itself computes for example inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch

from automask.bundle import Bundle
from automask.families.family import Picture
from automask.families.finders.grounding_dino import GroundingDino
from automask.preprocess import Resize
from automask.session import Session

from ...agreement_boxes import BoxAgreement, FoundBoxes
from ...figures import Figure
from ...finding import calibrate, new_cache
from ...free_text.reference import FinderReference, run_submodel
from ...parity import Array, Case, Image
from .inputs import image_settings

if TYPE_CHECKING:
    from ...free_text.model import FreeTextModel

__all__ = ["GroundingDinoReference"]

_SEPARATORS = (101, 102, 1012, 1029)
_CLOSE = 1e-3  # largest difference of a query's logits and boxes that still agree
_SHARE = 0.95


@dataclass
class _Agreement:
    """The agreement of boxes, and the share of the detector's queries that agree.

    The decoder pairs its queries with the image's cells by their rank: where float32 in another order of operations
    makes two nearly equal cells change places, two queries differ from the checkpoint's, and the result does not.

    Attributes
    ----------
    boxes
        Of the whole chain.
    shares
        Of the detector alone, for each of its cases.
    """

    boxes: BoxAgreement = field(default_factory=BoxAgreement)
    shares: list[float] = field(default_factory=list)

    def figures(self, precision: str) -> list[Figure]:
        """Return the figures; those that decide have limits."""
        if precision != "fp32":
            return self.boxes.figures(precision)
        share = Figure("fp32 detector: share of equal queries", min(self.shares), _SHARE, at_least=True)
        return [share, *self.boxes.figures(precision)]

    def criterion(self, precision: str) -> str:
        """Describe the figures that decide, and why."""
        boxes = self.boxes.criterion(precision)
        if precision != "fp32":
            return boxes
        return f"{boxes}; and the share of queries whose logits and boxes differ by at most {_CLOSE:g}: {_SHARE:g}"


@dataclass(frozen=True)
class GroundingDinoReference(FinderReference):
    """Inputs, and the checkpoint's results.

    Attributes
    ----------
    detector_cases
        As `cases`, of the detector, which `compare` judges query by query.
    """

    phrases: ClassVar[tuple[str, ...]] = (
        "the red cushion on the left",
        "a cup",
        "Something Bright",
        "old wooden chair with a striped seat",
        "dog's hat",
        "猫",
        "wall, behind it a person",
    )

    detector_cases: Sequence[Case] = ()

    @classmethod
    def run(cls, model: FreeTextModel, photo: Image) -> Self:
        """Run the checkpoint; see `FinderReference`."""
        reference = super().run(model, photo)
        cases = dict(reference.cases)
        return replace(reference, detector_cases=cases.pop("detector"), cases=cases)

    @staticmethod
    def example_images(photo: Image) -> list[Image]:
        """Return the photo, and the upper left part of the same, upright."""
        return [photo, np.ascontiguousarray(photo[: photo.shape[0] // 2, : photo.shape[1] // 4])]

    @classmethod
    def detect(cls, model: FreeTextModel, image: Image, phrases: Sequence[str]) -> FoundBoxes:
        """Return the boxes of all queries, clipped to the image, each with its best word's phrase."""
        feed = _read(model, image, phrases)
        with torch.inference_mode():
            outputs = model.network(**feed)
        (found,) = _processor(model).post_process_grounded_object_detection(
            outputs, threshold=-1.0, target_sizes=[image.shape[:2]]
        )
        ids = feed["input_ids"][0]
        is_word = ~torch.isin(ids, torch.tensor(_SEPARATORS))
        number = torch.cumsum((ids == 1012).int(), 0)  # of the phrase that each token is in
        scores = outputs.logits[0, :, : len(ids)].sigmoid().masked_fill(~is_word, -1.0)
        best, tokens = scores.max(dim=1)
        limits = np.array([image.shape[1], image.shape[0]] * 2, np.float32)
        labels = tuple(phrases[index] for index in number[tokens].tolist())
        return FoundBoxes(np.clip(found["boxes"].numpy(), 0, limits), best.numpy(), labels)

    @classmethod
    def run_submodels(cls, model: FreeTextModel, images: Sequence[Image]) -> dict[str, list[Case]]:
        """Run text encoder, image encoder and detector; see `FinderReference`."""
        roles = ("text_encoder", "detector_encoder", "detector")
        text_encoder, image_encoder, detector = (model.submodels[role] for role in roles)
        texts = [run_submodel(text_encoder, _layout(_read(model, images[0], phrases))) for phrases in cls.prompts()]
        visions = [run_submodel(image_encoder, _pixels(_read(model, image, cls.phrases[:1]))) for image in images]
        # The longest caption on the photo, the shortest on the padded part.
        pairs = [(visions[0], texts[-1]), (visions[1], texts[0])]
        detections = [run_submodel(detector, _detector_inputs(vision, text)) for vision, text in pairs]
        return {"text_encoder": texts, "detector_encoder": visions, "detector": detections}

    def compare(self, bundle: Bundle, graphs: Mapping[str, Session]) -> _Agreement:
        """Compare the graphs with the checkpoint; see `automask.export.parity.Reference`."""
        agreement = _Agreement()
        for inputs, outputs in self.detector_cases:
            logits, boxes = graphs["detector"].run(**inputs)
            worst = np.maximum(
                np.abs(logits - outputs["logits"]).max(axis=1), np.abs(boxes - outputs["boxes"]).max(axis=1)
            )
            agreement.shares.append(float((worst <= _CLOSE).mean()))
        finder = GroundingDino(bundle, dict(graphs), new_cache())
        for image, row in zip(self.images, self.expected, strict=True):
            picture = Picture(image, image.shape[:2], hashlib.sha256(image.tobytes()).digest(), image)
            for phrases, expected in zip(self.prompts(), row, strict=True):
                boxes, scores, labels = finder.candidates(picture, phrases)
                calibrated = FoundBoxes(expected.boxes, calibrate(bundle, expected.scores), expected.labels)
                agreement.boxes.add(FoundBoxes(boxes, scores, tuple(labels)), calibrated, image.shape[:2])
        return agreement


def _processor(model: FreeTextModel) -> Any:  # noqa: ANN401 (transformers has no types)
    """Return transformers' processor of tokenizer and image processor."""
    from transformers import GroundingDinoProcessor

    return GroundingDinoProcessor(model.processor, model.tokenizer)


def _read(model: FreeTextModel, image: Image, phrases: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return the checkpoint's inputs: the image with its proportions inside the square, and the phrases."""
    height, width = Resize.read(image_settings(model.processor)).fitted_size(*image.shape[:2])
    size = {"height": height, "width": width}
    return dict(_processor(model)(images=image, text=[list(phrases)], size=size, return_tensors="pt"))


def _layout(feed: Mapping[str, torch.Tensor]) -> dict[str, Array]:
    """Return the text encoder's inputs, with the phrase mask as transformers makes it."""
    from transformers.models.grounding_dino.modeling_grounding_dino import (
        generate_masks_with_special_tokens_and_transfer_map,
    )

    mask, positions = generate_masks_with_special_tokens_and_transfer_map(feed["input_ids"])
    return {
        "input_ids": feed["input_ids"].numpy(),
        "phrase_mask": mask.float().numpy(),
        "position_ids": positions.numpy(),
    }


def _pixels(feed: Mapping[str, torch.Tensor]) -> dict[str, Array]:
    return {"pixel_values": feed["pixel_values"].numpy(), "pixel_mask": feed["pixel_mask"].float().numpy()}


def _detector_inputs(vision: Case, text: Case) -> dict[str, Array]:
    layout = {name: text[0][name] for name in ("phrase_mask", "position_ids")}
    return {**vision[1], **text[1], **layout}
