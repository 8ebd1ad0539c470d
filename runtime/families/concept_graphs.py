"""The graphs of the family `concept`: what each computes, and what is cached."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from math import prod
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle, Shape
from ..cache import Arrays, ByteCache
from ..device_resize import read_resize
from ..devices import DEVICES
from ..session import Session
from .family import Picture, Stopwatch
from .finders.ranking import best

__all__ = ["EXEMPLARS", "Concept", "ConceptGraphs", "Found", "logistic"]

EXEMPLARS: Final = "exemplar_encoder"
"""Role of the graph that reads an example."""

_LEVELS = ("fpn_0", "fpn_1", "fpn_2")  # from fine to coarse
# Concepts of one call, where a device computes several together. Each takes 1.7 GB in float32 for the attention of a
# picture of 1008 pixels.
_TOGETHER = 4
_POSITIVE = 1  # label of an example of what is looked for

_log = logging.getLogger(__name__)


class Concept(NamedTuple):
    """What is looked for.

    Attributes
    ----------
    ids
        Token ids of a phrase, unpadded.
    box
        Left, top, right, bottom of an example, in pixels of the image; or None.
    """

    ids: tuple[int, ...]
    box: tuple[float, float, float, float] | None = None


class Found(NamedTuple):
    """What the detector found for a concept: the n objects that can be drawn at any threshold, best first.

    Attributes
    ----------
    boxes
        (n, 4): left, top, right, bottom in pixels of the image, clipped to it.
    scores
        (n,) calibrated.
    masks
        (n, h, w) over the whole image: probability minus a half, so that it is positive inside. As in transformers,
        probabilities are interpolated between the cells, not logits.
    semantic
        (h, w) logits: whether a pixel belongs to any object of the concept.
    others
        Scores of the objects that are never drawn, because enough others are better.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    masks: NDArray[np.float32]
    semantic: NDArray[np.float32]
    others: NDArray[np.float32]


class ConceptGraphs:
    """Runs the graphs; parameters as for `Family`.

    The encoding of a picture is cached by picture, the features of a phrase by its tokens, and what was found by both.
    """

    def __init__(self, bundle: Bundle, sessions: Mapping[str, Session], cache: ByteCache[Arrays]) -> None:
        roles = ("vision_encoder", "text_encoder", "detector")
        self._vision_graph, self._text_graph, self._detector_graph = (sessions[role] for role in roles)
        self._exemplar_graph = sessions.get(EXEMPLARS)
        self._cache = cache
        self._resize = read_resize(bundle.image["vision_encoder"], self._vision_graph)
        self._calibration = np.array(bundle.calibration, np.float32).T
        self._pad_to: int | None = bundle.text["pad_to"]
        self._pad_token: int = bundle.text["pad_token_id"]
        _check_graphs(bundle, self._resize.size, self._pad_to)
        _check_cache(bundle, cache, on_device=bool(self._vision_graph.memory))

    @property
    def device(self) -> str:
        """The device on which the graphs run."""
        return self._detector_graph.device

    def detect(self, picture: Picture, concepts: Sequence[Concept], watch: Stopwatch) -> list[Found]:
        """Return what a picture shows of each concept.

        On a device that batches, a few concepts are computed in one call; on a CPU one, which is as fast, takes less
        memory and does not depend on the others.
        """
        missing = [concept for concept in concepts if not self._cache.holds(_key(picture, concept))]
        step = _TOGETHER if DEVICES[self.device].batches_boxes else 1
        new: dict[Concept, Found] = {}
        for start in range(0, len(missing), step):
            part = missing[start : start + step]
            new.update(zip(part, self._run(picture, part, watch), strict=True))

        def compute(concept: Concept) -> Arrays:
            return new[concept] if concept in new else self._run(picture, [concept], watch)[0]

        return [Found(*self._cache.get(_key(picture, one), partial(compute, one))) for one in concepts]

    def _run(self, picture: Picture, concepts: Sequence[Concept], watch: Stopwatch) -> list[Found]:
        """Run the detector once, for all concepts."""
        with watch.stage("encode"):
            levels = self._cache.get((picture.key, "vision"), lambda: self._encode(picture))
        with watch.stage("text"):
            features = [self._read(picture, levels[-1], concept) for concept in concepts]
        with watch.stage("detect"):
            padded, mask = _pad(features)
            results = self._detector_graph.run(**dict(zip(_LEVELS, levels, strict=True)), features=padded, mask=mask)
            outputs = dict(zip(self._detector_graph.outputs, results, strict=True))
            return [
                self._keep(picture.size, {name: one[row] for name, one in outputs.items()})
                for row in range(len(concepts))
            ]

    def _encode(self, picture: Picture) -> Arrays:
        """Return the levels of features of a picture."""
        levels = self._vision_graph.run_on_device(pixel_values=self._resize.stretch(picture.pixels))
        named = dict(zip(self._vision_graph.outputs, levels, strict=True))
        return tuple(named[name] for name in _LEVELS)

    def _read(self, picture: Picture, level: NDArray[np.float32], concept: Concept) -> NDArray[np.float32]:
        """Return the features of a phrase and of an example, if there is one: (length, d)."""
        (features,) = self._cache.get(("text", concept.ids), lambda: self._encode_text(concept.ids))
        if concept.box is None or self._exemplar_graph is None:
            return features
        height, width = picture.size
        left, top, right, bottom = np.array(concept.box, np.float32) / np.array((width, height) * 2, np.float32)
        box = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
        (example,) = self._exemplar_graph.run(
            fpn_2=level, boxes=np.array([box], np.float32), labels=np.array([_POSITIVE], np.int64)
        )
        return np.concatenate((features, example))

    def _encode_text(self, ids: Sequence[int]) -> Arrays:
        """Return the features of a phrase, (length, d): by itself, so that no other phrase changes it."""
        array = np.array([ids], np.int64)
        if self._pad_to is None:
            return (self._text_graph.run(input_ids=array)[0][0],)
        padded = np.full((1, self._pad_to), self._pad_token, np.int64)
        padded[0, : len(ids)] = ids
        mask = (np.arange(self._pad_to) < len(ids)).astype(np.int64)[None]
        return (self._text_graph.run(input_ids=padded, attention_mask=mask)[0][0, : len(ids)],)

    def _keep(self, size: tuple[int, int], outputs: Mapping[str, NDArray[np.float32]]) -> Found:
        """Return the objects that are drawn at threshold 0, among which are those of any other threshold."""
        sides = np.array(size[::-1] * 2, np.float32)
        boxes = np.clip(outputs["boxes"] * sides, 0, sides)
        raw = logistic(outputs["logits"]) * logistic(outputs["presence"])
        scores = np.interp(raw, *self._calibration).astype(np.float32)
        order, most = best(boxes, scores, 0.0)
        kept = order[:most]
        masks = logistic(outputs["masks"][kept]) - np.float32(0.5)
        return Found(boxes[kept], scores[kept], masks, outputs["semantic"][0], scores[order[most:]])


def _key(picture: Picture, concept: Concept) -> tuple[object, ...]:
    return (picture.key, "concept", *concept)


def _pad(features: Sequence[NDArray[np.float32]]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return features of several lengths as one array, (n, length, d), and where they are not padding."""
    lengths = np.array([len(one) for one in features])
    mask = np.arange(lengths.max()) < lengths[:, None]
    padded = np.zeros((*mask.shape, features[0].shape[1]), np.float32)
    padded[mask] = np.concatenate(features)
    return padded, mask.astype(np.int64)


def logistic(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return probabilities."""
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * logits), np.float32)  # without overflow


def _check_graphs(bundle: Bundle, size: int, pad_to: int | None) -> None:
    levels: dict[str, Shape] = dict.fromkeys(_LEVELS, (None,) * 4)
    bundle.require("vision_encoder", inputs={"pixel_values": (None, 3, size, size)}, outputs=levels)
    names = ("input_ids",) if pad_to is None else ("input_ids", "attention_mask")
    bundle.require(
        "text_encoder", inputs=dict.fromkeys(names, (None, pad_to)), outputs={"features": (None, None, None)}
    )
    bundle.require(
        "detector",
        inputs={**levels, "features": (None, None, None), "mask": (None, None)},
        outputs={
            "boxes": (None, None, 4),
            "logits": (None, None),
            "presence": (None, 1),
            "masks": (None,) * 4,
            "semantic": (None, 1, None, None),
        },
    )
    if EXEMPLARS in bundle.graphs:
        inputs: dict[str, Shape] = {"fpn_2": levels["fpn_2"], "boxes": (None, 4), "labels": (None,)}
        bundle.require(EXEMPLARS, inputs=inputs, outputs={"features": (None, None)})


def _check_cache(bundle: Bundle, cache: ByteCache[Arrays], *, on_device: bool) -> None:
    """Log a warning if the encoding of a picture cannot be cached; without a cache, that is as asked for."""
    shapes = [spec.shape for spec in bundle.graphs["vision_encoder"].outputs.values()]
    needed = sum(4 * prod(axis for axis in shape if isinstance(axis, int)) for shape in shapes)
    bound = cache.info().gpu_max_bytes if on_device else cache.info().max_bytes
    if 0 < bound < needed:
        _log.warning(
            "the encoding of a picture by %s takes %.0f MB, the cache holds %.0f MB: another prompt on the same "
            "picture encodes it again; raise %s",
            bundle.name,
            needed / 1e6,
            bound / 1e6,
            "gpu_cache_bytes" if on_device else "cache_bytes",
        )
