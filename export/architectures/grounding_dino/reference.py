"""What a checkpoint of Grounding DINO itself computes for example inputs.

The reference end to end is the model's `forward` with transformers' processor and post-processing: none of the code
that made the graphs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from automask.bundle import Bundle
from automask.cache import Arrays, ByteCache
from automask.families.family import Picture
from automask.families.finders.grounding_dino import GroundingDino
from automask.preprocess import Resize
from automask.session import Session

from ...agreement_boxes import BoxAgreement, FoundBoxes
from ...figures import Figure
from ...finding import calibrate
from ...parity import Array, Case, Image
from .inputs import image_settings

if TYPE_CHECKING:
    from transformers import BertTokenizerFast, GroundingDinoForObjectDetection, GroundingDinoImageProcessor

    from ...submodels import Submodel

__all__ = ["PHRASES", "GroundingDinoReference"]

PHRASES = (
    "the red cushion on the left",
    "a cup",
    "Something Bright",
    "old wooden chair with a striped seat",
    "dog's hat",
    "猫",
    "wall, behind it a person",
)
_COUNTS = (1, 2, 7)
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
class GroundingDinoReference:
    """Inputs, and the checkpoint's results.

    Attributes
    ----------
    cases
        By role, inputs of several lengths and image sizes, and the outputs of the encoders.
    detector_cases
        The same of the detector, which `compare` judges query by query.
    images
        A photo, and the upper left part of the same, upright.
    expected
        For each image, what was found for 1, 2 and 7 phrases.
    """

    cases: Mapping[str, Sequence[Case]]
    detector_cases: Sequence[Case]
    images: Sequence[Image]
    expected: Sequence[Sequence[FoundBoxes]]

    @classmethod
    def run(
        cls,
        network: GroundingDinoForObjectDetection,
        tokenizer: BertTokenizerFast,
        processor: GroundingDinoImageProcessor,
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
        from transformers import GroundingDinoProcessor

        whole = GroundingDinoProcessor(processor, tokenizer)
        images = [photo, np.ascontiguousarray(photo[: photo.shape[0] // 2, : photo.shape[1] // 4])]
        inputs = [[_read(whole, image, PHRASES[:count]) for count in _COUNTS] for image in images]
        expected = [
            [_detect(network, whole, feed, image, PHRASES[:count]) for feed, count in zip(row, _COUNTS, strict=True)]
            for row, image in zip(inputs, images, strict=True)
        ]
        texts = [_run(submodels["text_encoder"], _layout(feed)) for feed in inputs[0]]
        visions = [_run(submodels["detector_encoder"], _pixels(row[0])) for row in inputs]
        cases = {"text_encoder": texts, "detector_encoder": visions}
        # The longest caption on the photo, the shortest on the padded part.
        pairs = [(visions[0], texts[-1]), (visions[1], texts[0])]
        detector = [_run(submodels["detector"], _detector_inputs(vision, text)) for vision, text in pairs]
        return cls(cases, detector, images, expected)

    def compare(self, bundle: Bundle, graphs: Mapping[str, Session]) -> _Agreement:
        """Compare the graphs with the checkpoint; see `automask.export.parity.Reference`."""
        agreement = _Agreement()
        for inputs, outputs in self.detector_cases:
            logits, boxes = graphs["detector"].run(**inputs)
            worst = np.maximum(
                np.abs(logits - outputs["logits"]).max(axis=1), np.abs(boxes - outputs["boxes"]).max(axis=1)
            )
            agreement.shares.append(float((worst <= _CLOSE).mean()))
        cache = ByteCache[Arrays](1 << 30, lambda arrays: sum(array.nbytes for array in arrays))
        finder = GroundingDino(bundle, dict(graphs), cache)
        for image, row in zip(self.images, self.expected, strict=True):
            picture = Picture(image, image.shape[:2], hashlib.sha256(image.tobytes()).digest(), image)
            for count, expected in zip(_COUNTS, row, strict=True):
                boxes, scores, labels = finder.candidates(picture, PHRASES[:count])
                calibrated = FoundBoxes(expected.boxes, calibrate(bundle, expected.scores), expected.labels)
                agreement.boxes.add(FoundBoxes(boxes, scores, tuple(labels)), calibrated, image.shape[:2])
        return agreement


def _read(processor: Any, image: Image, phrases: Sequence[str]) -> dict[str, torch.Tensor]:  # noqa: ANN401
    """Return the checkpoint's inputs: the image with its proportions inside the square, and the phrases."""
    square = image_settings(processor.image_processor)
    height, width = Resize.read(square).fitted_size(*image.shape[:2])
    size = {"height": height, "width": width}
    return dict(processor(images=image, text=[list(phrases)], size=size, return_tensors="pt"))


def _detect(
    network: GroundingDinoForObjectDetection,
    processor: Any,  # noqa: ANN401
    feed: Mapping[str, torch.Tensor],
    image: Image,
    phrases: Sequence[str],
) -> FoundBoxes:
    """Return the boxes of all queries, clipped to the image, each with its best word's phrase, with raw scores."""
    with torch.inference_mode():
        outputs = network(**feed)
    (found,) = processor.post_process_grounded_object_detection(outputs, threshold=-1.0, target_sizes=[image.shape[:2]])
    ids = feed["input_ids"][0]
    is_word = ~torch.isin(ids, torch.tensor(_SEPARATORS))
    number = torch.cumsum((ids == 1012).int(), 0)  # of the phrase that each token is in
    scores = outputs.logits[0, :, : len(ids)].sigmoid().masked_fill(~is_word, -1.0)
    best, tokens = scores.max(dim=1)
    limits = np.array([image.shape[1], image.shape[0]] * 2, np.float32)
    labels = tuple(phrases[index] for index in number[tokens].tolist())
    return FoundBoxes(np.clip(found["boxes"].numpy(), 0, limits), best.numpy(), labels)


def _run(submodel: Submodel, inputs: Mapping[str, Array]) -> Case:
    return inputs, submodel.run(inputs)


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
