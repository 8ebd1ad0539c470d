"""What a detector's checkpoint itself finds: transformers' processor, network and post-processing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from automask.bundle import Bundle
from automask.session import Session
from automask.words.meaning import Term

from ...agreement_boxes import BoxAgreement, FoundBoxes
from ...finding import calibrate, find_boxes
from ...label_sets.photos import parity_images
from ...parity import Array, Case, Image

if TYPE_CHECKING:
    from ...label_sets.model import LabelSetModel

__all__ = ["DetectorReference"]

_BEST = 10  # objects whose labels are compared
# Networks that give the boxes in the order of scores of an earlier stage: nearly equal ones change places.
_ORDERED_BY_SCORE = ("d_fine", "deformable_detr", "rt_detr", "rt_detr_v2")


@dataclass(frozen=True)
class DetectorReference:
    """Inputs, and the checkpoint's results.

    Attributes
    ----------
    cases
        Inputs and outputs of the graph, where the order of its boxes is fixed.
    found
        Images, and what the checkpoint finds in each, of every label.
    labels
        The labels, in the network's order.
    """

    cases: Mapping[str, Sequence[Case]]
    found: Sequence[tuple[Image, FoundBoxes]]
    labels: tuple[str, ...]

    @classmethod
    def run(cls, model: LabelSetModel, photo: Image) -> Self:
        """Run the checkpoint; the photo is RGB, (height, width, 3)."""
        images = parity_images(photo)
        found = [(image, _find(model, image)) for image in images]
        cases: dict[str, list[Case]] = {}
        if model.network.config.model_type not in _ORDERED_BY_SCORE:
            feeds = [_inputs(model, batch) for batch in (images[:1], images[:2])]
            cases = {model.role: [(feed, model.submodels[model.role].run(feed)) for feed in feeds]}
        return cls(cases, found, model.labels)

    def compare(self, bundle: Bundle, graphs: Mapping[str, Session]) -> BoxAgreement:
        """Compare what the runtime's finder finds; see `automask.export.parity.Reference`."""
        agreement = BoxAgreement()
        for image, expected in self.found:
            labels = tuple(dict.fromkeys(expected.labels[i] for i in expected.best(_BEST)))
            terms = [(Term(label, label, self.labels.index(label)),) for label in labels]
            for label, ours in zip(labels, find_boxes(bundle, graphs, image, terms), strict=True):
                mine = [i for i, name in enumerate(expected.labels) if name == label]
                scores = calibrate(bundle, expected.scores[mine])
                agreement.add(ours, FoundBoxes(expected.boxes[mine], scores, (label,) * len(mine)), image.shape[:2])
        return agreement


def _inputs(model: LabelSetModel, images: Sequence[Image]) -> dict[str, Array]:
    inputs = model.processor(list(images), return_tensors="np")
    return {name: np.asarray(inputs[name]) for name in model.submodels[model.role].inputs}


def _find(model: LabelSetModel, image: Image) -> FoundBoxes:
    """Return the boxes of all labels that the checkpoint finds in an image, with raw scores."""
    feed = {name: torch.tensor(array) for name, array in _inputs(model, [image]).items()}
    with torch.inference_mode():
        outputs = model.network(**feed)
    size = _canvas(model, image.shape[:2])
    (found,) = model.processor.post_process_object_detection(outputs, threshold=-1.0, target_sizes=[size])
    scores, labels, boxes = found["scores"], found["labels"], found["boxes"]
    if model.image[model.role]["scores"] == "softmax":
        # The post-processing keeps the best label of each box; a prompt for another one finds the box too.
        probabilities = outputs.logits[0].softmax(-1)[:, :-1]
        assert torch.equal(probabilities.max(-1).values, scores), "the boxes are in the order of the queries"  # noqa: S101
        count = probabilities.shape[1]
        scores, labels = probabilities.flatten(), torch.arange(count).repeat(len(boxes))
        boxes = boxes.repeat_interleave(count, 0)
    limits = np.array([*image.shape[1::-1]] * 2, np.float32)
    names = tuple(model.labels[int(label)] for label in labels)
    return FoundBoxes(np.clip(boxes.numpy(), 0, limits), scores.numpy(), names)


def _canvas(model: LabelSetModel, size: tuple[int, int]) -> tuple[float, float]:
    """Return the height and width, in pixels of the image, to which the network's boxes are relative."""
    settings: dict[str, Any] = model.image[model.role]
    masked = "pixel_mask" in model.submodels[model.role].inputs
    if settings["resize"] == "stretch" or masked:
        return size
    return (max(size), max(size))  # boxes are relative to the padded square
