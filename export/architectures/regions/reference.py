"""What the checkpoint of a net with masks and labels itself finds, with transformers' processor and post-processing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from automask.bundle import Bundle
from automask.families.family import Picture, Stopwatch
from automask.families.regions import Regions
from automask.session import Session
from automask.words.meaning import Term

from ...finding import new_cache
from ...label_sets.agreement import ResultAgreement, overlap
from ...label_sets.photos import parity_images
from ...parity import Array, Case, Image, run_graph

if TYPE_CHECKING:
    from ...label_sets.model import LabelSetModel

__all__ = ["RegionReference"]

_BEST = 10


@dataclass(frozen=True)
class _Found:
    """One mask of the checkpoint: its query, label, raw score, and the mask itself, (height, width) bool."""

    query: int
    label: str
    score: float
    mask: Array


@dataclass(frozen=True)
class RegionReference:
    """Inputs, and the checkpoint's results.

    Attributes
    ----------
    cases
        Inputs and outputs of the graph, one for each image.
    found
        Images, and the best masks that the checkpoint finds in each.
    labels
        The labels, in the network's order.
    """

    cases: Mapping[str, Sequence[Case]]
    found: Sequence[tuple[Image, Sequence[_Found]]]
    labels: tuple[str, ...]

    @classmethod
    def run(cls, model: LabelSetModel, photo: Image) -> Self:
        """Run the checkpoint; the photo is RGB, (height, width, 3)."""
        images = parity_images(photo)
        graph = model.submodels[model.role]
        feeds = [{"pixel_values": _pixels(model, batch)} for batch in (*([image] for image in images), images[:2])]
        cases = [(feed, graph.run(feed)) for feed in feeds]
        return cls({model.role: cases}, [(image, _find(model, image)) for image in images], model.labels)

    def compare(self, bundle: Bundle, graphs: Mapping[str, Session]) -> ResultAgreement:
        """Compare the runtime's masks; see `automask.export.parity.Reference`."""
        agreement = ResultAgreement()
        # Every mask by itself, as in the checkpoint's result; `Regions` joins those of a label of stuff.
        family = Regions(replace(bundle, text={**bundle.text, "stuff": []}), dict(graphs), new_cache())
        raw, calibrated = np.array(bundle.calibration).T
        for number, (image, expected) in enumerate(self.found):
            feed, outputs = self.cases["segmenter"][number]
            queries = [one.query for one in expected]
            masks = run_graph(graphs["segmenter"], feed)["mask_logits"]
            agreement.add_logits(masks[0, queries], outputs["mask_logits"][0, queries])
            for one in expected:
                picture = Picture(image, one.mask.shape, bytes([number]), image)
                term = Term(one.label, one.label, self.labels.index(one.label))
                (ours,) = family.predict(picture, [(term,)], [0.0], Stopwatch())
                pairs = [(overlap(each.mask > 0, one.mask), each.score) for each in ours.instances]
                share, score = max(pairs, default=(0.0, 0.0))
                agreement.shares.append(share)
                agreement.scores.append(abs(score - float(np.interp(one.score, raw, calibrated))))
        return agreement


def _pixels(model: LabelSetModel, images: Sequence[Image]) -> Array:
    return np.asarray(model.processor(list(images), return_tensors="np")["pixel_values"])


def _find(model: LabelSetModel, image: Image) -> list[_Found]:
    """Return the best masks of the checkpoint's own post-processing, which gets one query at a time.

    All together, it would draw overlapping masks over each other.
    """
    with torch.inference_mode():
        outputs = model.network(pixel_values=torch.tensor(_pixels(model, [image])))
    # Mask2Former's and MaskFormer's post-processing enlarges masks by repeating pixels, so theirs keep their size.
    sizes: dict[str, Any] = {"target_sizes": [image.shape[:2]]} if model.processor.size.get("longest_edge") else {}
    found = []
    for query in range(outputs.class_queries_logits.shape[1]):
        outputs_of_one = type(outputs)(
            class_queries_logits=outputs.class_queries_logits[:, query : query + 1],
            masks_queries_logits=outputs.masks_queries_logits[:, query : query + 1],
        )
        (result,) = model.processor.post_process_instance_segmentation(outputs_of_one, threshold=0.0, **sizes)
        for segment in result["segments_info"]:
            mask = np.asarray(result["segmentation"].numpy() == segment["id"])
            found.append(_Found(query, model.labels[segment["label_id"]], segment["score"], mask))
    return sorted(found, key=lambda one: -one.score)[:_BEST]
