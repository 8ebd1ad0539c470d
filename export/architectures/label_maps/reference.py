"""What the checkpoint of a semantic segmentation net itself computes, with transformers' processor and results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from automask.bundle import Bundle
from automask.families.family import Picture, Stopwatch
from automask.families.scorers.label_map import LabelMap
from automask.session import Session
from automask.words.meaning import Term

from ...finding import new_cache
from ...label_sets.agreement import ResultAgreement
from ...label_sets.photos import parity_images
from ...parity import Array, Case, Image, run_graph

if TYPE_CHECKING:
    from ...label_sets.model import LabelSetModel

__all__ = ["LabelMapReference"]

_MOST_LABELS = 5


@dataclass(frozen=True)
class LabelMapReference:
    """Inputs, and the checkpoint's results.

    Attributes
    ----------
    cases
        Inputs and outputs of the graph.
    maps
        Images, and the best label of each pixel, at the resolution of the graph's output.
    labels
        The labels, in the network's order.
    """

    cases: Mapping[str, Sequence[Case]]
    maps: Sequence[tuple[Image, Array]]
    labels: tuple[str, ...]

    @classmethod
    def run(cls, model: LabelSetModel, photo: Image) -> Self:
        """Run the checkpoint; the photo is RGB, (height, width, 3)."""
        images = parity_images(photo)
        graph = model.submodels[model.role]
        size = graph.outputs["logits"].shape[2:]
        maps = [(image, _best_labels(model, image, size)) for image in images]
        feeds = [{"pixel_values": _pixels(model, batch)} for batch in (images[:1], images[1:])]
        return cls({model.role: [(feed, graph.run(feed)) for feed in feeds]}, maps, model.labels)

    def compare(self, bundle: Bundle, graphs: Mapping[str, Session]) -> ResultAgreement:
        """Compare the runtime's score maps; see `automask.export.parity.Reference`."""
        agreement = ResultAgreement()
        for feed, outputs in self.cases["segmenter"]:
            logits = run_graph(graphs["segmenter"], feed)["logits"]
            for one, other in zip(logits, outputs["logits"], strict=True):
                best = np.bincount(other.argmax(axis=0).ravel(), minlength=len(self.labels)).argsort()[::-1]
                labels = best[:_MOST_LABELS]
                agreement.add_logits(_margins(one, labels), _margins(other, labels))
        scorer = LabelMap(bundle, dict(graphs), new_cache())
        terms = [(Term(label, label, index),) for index, label in enumerate(self.labels)]
        for number, (image, expected) in enumerate(self.maps):
            picture = Picture(image, expected.shape, bytes([number]), image)
            maps = [one.score_map for one in scorer.score(picture, terms, Stopwatch()) if one.score_map is not None]
            agreement.shares.append(float((np.argmax(maps, axis=0) == expected).mean()))
        return agreement


def _pixels(model: LabelSetModel, images: Sequence[Image]) -> Array:
    return np.asarray(model.processor(list(images), return_tensors="np")["pixel_values"])


def _best_labels(model: LabelSetModel, image: Image, size: Sequence[int | str]) -> Array:
    with torch.inference_mode():
        outputs = model.network(pixel_values=torch.tensor(_pixels(model, [image])))
    (best,) = model.processor.post_process_semantic_segmentation(outputs, target_sizes=[tuple(size)])
    return np.asarray(best.numpy())


def _margins(logits: Array, labels: Array) -> Array:
    """Return by how much each of some labels is better than the best other one, (labels, height, width)."""
    return np.stack([logits[label] - np.delete(logits, label, axis=0).max(axis=0) for label in labels])
