"""OWL-ViT as one graph, which reads an image and all phrases together, as ready-made files have it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...bundle import Bundle
from ...cache import Arrays, ByteCache
from ...session import Session
from ...words.tokenizer import Tokens
from ..family import Picture, Stopwatch
from .owl import OwlFinder

__all__ = ["OwlWhole"]


class OwlWhole(OwlFinder):
    """The graph `detector`, and a tokenizer.

    All phrases of a call are read in one run, and change nothing for each other. The image is encoded again for every
    call with other phrases; only results are cached, by image and phrases.
    """

    def __init__(self, bundle: Bundle, sessions: dict[str, Session], cache: ByteCache[Arrays]) -> None:
        super().__init__(bundle, sessions["detector"])
        self._graph, self._cache = sessions["detector"], cache
        self._length: int = bundle.text["max_length"]
        ids, size = (None, None), self._resize.size
        bundle.require(
            "detector",
            inputs={"pixel_values": (None, 3, size, size), "input_ids": ids, "attention_mask": ids},
            outputs={"logits": (None, None, None), "pred_boxes": (None, None, 4)},
        )

    def _match(
        self, picture: Picture, phrases: Sequence[Tokens], watch: Stopwatch
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        ids = tuple(phrase.ids for phrase in phrases)
        with watch.stage("detect"):
            boxes, logits = self._cache.get((picture.key, "detections", ids), lambda: self._run(picture, ids))
        return boxes, logits

    def _run(self, picture: Picture, phrases: Sequence[tuple[int, ...]]) -> Arrays:
        """Return boxes, (n, 4) as shares of the input, and logits, (n, phrases)."""
        # Padded as transformers' processor does: the length may be fixed in the graph.
        padded = np.zeros((len(phrases), self._length), np.int64)
        mask = np.zeros_like(padded)
        for row, ids in enumerate(phrases):
            padded[row, : len(ids)], mask[row, : len(ids)] = ids, 1
        results = self._graph.run(pixel_values=self._prepare(picture.pixels), input_ids=padded, attention_mask=mask)
        outputs = dict(zip(self._graph.outputs, results, strict=True))
        return outputs["pred_boxes"][0], outputs["logits"][0]
