"""What a Segment Anything checkpoint itself computes for example boxes and points.

The reference is the network of transformers on the image of its own processor. The masks of the runtime's drawer, on
the exported graphs, are compared with it before specks are removed, at the drawer's own resolution.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import cv2
import numpy as np
import torch

from automask.bundle import Bundle
from automask.cache import Arrays, ByteCache
from automask.families.drawers import Hint
from automask.families.drawers.sam import Sam
from automask.families.family import Picture, Stopwatch
from automask.session import Session

from ...agreement import MaskAgreement
from ...parity import Array, Case, Image
from ...submodels import Submodel
from .decoder import STRIDE

__all__ = ["HEIGHT", "WIDTH", "DrawerReference", "example_photo"]

# Of the photo. In a square whose side is a multiple of 16, both sides are whole cells of the mask, so that transformers
# and the runtime, which rounds to cells, agree on its size.
HEIGHT, WIDTH = 480, 640

_LEAST_LEAD = 0.02  # of the best mask of a single point over the second one, in predicted IoU
_MASK_EDGE = 0.5  # of the score: a pixel is inside where its logit is positive

# Boxes, points in each, and whether there is a box: one call of the network each.
_GROUPS = ((1, 0, True), (2, 0, True), (7, 0, True), (1, 1, False), (3, 1, False), (2, 3, False), (3, 2, True))


def example_photo(photo: Image) -> Image:
    """Return a photo as 480 × 640 pixels."""
    return np.asarray(cv2.resize(photo, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


@dataclass(frozen=True)
class DrawerReference:
    """Inputs, and the checkpoint's results.

    Attributes
    ----------
    drawer
        The runtime's class for the graphs.
    photo
        From `example_photo`.
    cases
        By role, an image and its mirror image, and prompts of several numbers and lengths, with the submodel's outputs.
    groups
        Hints in the photo, and the checkpoint's logits (n, rows, columns) for them.
    """

    drawer: type[Sam]
    photo: Image
    cases: Mapping[str, Sequence[Case]]
    groups: Sequence[tuple[Sequence[Hint], Array]]

    @classmethod
    def run(
        cls,
        network: Callable[..., Any],
        photo: Image,
        pixels: Array,
        *,
        embeddings: Mapping[str, Any],
        fitted: tuple[int, int],
        drawer: type[Sam],
        submodels: Mapping[str, Submodel],
    ) -> Self:
        """Run the checkpoint.

        Parameters
        ----------
        network
            Takes embeddings of an image and prompts, as transformers' networks do.
        photo
            From `example_photo`.
        pixels
            What the checkpoint's processor makes of the photo, (1, 3, size, size).
        embeddings
            What the network makes of these pixels, by the name of its argument.
        fitted
            Height and width in pixels of the square that the photo covers.
        drawer
            The runtime's class for the graphs.
        submodels
            By role.
        """
        random = np.random.default_rng(0)
        groups = [_hints(random, *group) for group in _GROUPS]
        return cls(
            drawer,
            photo,
            _cases(submodels, pixels, drawer.ends_boxes),
            [group for hints in groups if (group := _draw(network, embeddings, fitted, hints))[0]],
        )

    def compare(self, bundle: Bundle, graphs: Mapping[str, Session]) -> MaskAgreement:
        """Compare the masks of the runtime's drawer with the checkpoint's; see `automask.export.parity.Reference`."""
        agreement = MaskAgreement(threshold=_MASK_EDGE)
        cache = ByteCache[Arrays](2**30, lambda arrays: sum(array.nbytes for array in arrays))
        drawer = self.drawer(bundle, dict(graphs), cache)
        picture = Picture(self.photo, (HEIGHT, WIDTH), b"photo", self.photo)
        # All at once: the drawer sorts prompts by their number of points.
        hints = [hint for group, _ in self.groups for hint in group]
        drawn = iter(drawer.draw_with_specks(picture, hints, Stopwatch()))
        for _, expected in self.groups:
            agreement.add(np.stack([next(drawn).logits for _ in expected]), expected)
        return agreement


def _hints(random: np.random.Generator, count: int, points: int, has_box: bool) -> list[Hint]:
    hints = []
    for _ in range(count):
        (left, top), (right, bottom) = np.sort(random.uniform((0, 0), (WIDTH, HEIGHT), (2, 2)), axis=0).tolist()
        places = random.uniform((left, top), (right, bottom), (points, 2)).tolist()
        clicks = tuple((x, y, 1 - index % 2) for index, (x, y) in enumerate(places))
        hints.append(Hint((left, top, right, bottom) if has_box else None, clicks))
    return hints


def _draw(
    network: Callable[..., Any], embeddings: Mapping[str, Any], fitted: tuple[int, int], hints: Sequence[Hint]
) -> tuple[list[Hint], Array]:
    """Return the hints of one kind whose mask is certain, and the network's logits for them, (n, rows, columns)."""
    scale = np.array([fitted[1] / WIDTH, fitted[0] / HEIGHT])
    prompts: dict[str, torch.Tensor] = {}
    if hints[0].points:
        places = np.array([[point[:2] for point in hint.points] for hint in hints]) * scale
        prompts["input_points"] = torch.tensor(places, dtype=torch.float32)[None]
        prompts["input_labels"] = torch.tensor([[point[2] for point in hint.points] for hint in hints])[None]
    if hints[0].box is not None:
        boxes = np.array([hint.box for hint in hints]) * np.tile(scale, 2)
        prompts["input_boxes"] = torch.tensor(boxes, dtype=torch.float32)[None]
    single = len(hints[0].points) == 1 and hints[0].box is None
    with torch.inference_mode():
        found = network(**embeddings, **prompts, multimask_output=single)
    logits, iou = found.pred_masks[0].numpy(), found.iou_scores[0].numpy()
    # Of two masks with nearly the same predicted IoU, rounding would decide which one int8 and float16 take.
    lead = np.ptp(np.sort(iou, axis=1)[:, -2:], axis=1)
    certain = np.flatnonzero((lead >= _LEAST_LEAD) | (not single))
    best: Array = logits[certain, iou[certain].argmax(axis=1)]
    return [hints[index] for index in certain.tolist()], best[:, : fitted[0] // STRIDE, : fitted[1] // STRIDE]


def _cases(submodels: Mapping[str, Submodel], pixels: Array, ends_boxes: bool) -> dict[str, list[Case]]:
    random = np.random.default_rng(1)
    images = [{"image": pixels}, {"image": np.ascontiguousarray(pixels[..., ::-1])}]
    encoded = [submodels["image_encoder"].run(image) for image in images]
    size = pixels.shape[-1]
    prompts = [_prompt(random, size, *group, ends_boxes=ends_boxes) for group in _GROUPS]
    feeds = [encoded[index % 2] | prompt for index, prompt in enumerate(prompts)]
    return {
        "image_encoder": list(zip(images, encoded, strict=True)),
        "mask_decoder": [(feed, submodels["mask_decoder"].run(feed)) for feed in feeds],
    }


def _prompt(
    random: np.random.Generator, size: int, count: int, points: int, has_box: bool, *, ends_boxes: bool
) -> dict[str, Array]:
    """Return points and labels of prompts, as the decoder takes them."""
    labels = [1 - index % 2 for index in range(points)]
    corners = np.sort(random.uniform(0, size, (count, 2, 2)), axis=1) if has_box else np.empty((count, 0, 2))
    labels += [2, 3] if has_box else []
    ends = int(ends_boxes or not has_box)
    places = [random.uniform(0, size, (count, points, 2)), corners, np.zeros((count, ends, 2))]
    return {
        "points": np.concatenate(places, axis=1).astype(np.float32),
        "labels": np.tile(np.array(labels + [-1] * ends), (count, 1)),
    }
