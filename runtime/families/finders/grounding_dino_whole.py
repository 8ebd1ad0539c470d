"""Grounding DINO as one graph, which reads an image and one phrase together, as ready-made files have it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...bundle import Bundle
from ...cache import Arrays, ByteCache
from ...session import Session
from ...words.captions import Caption
from ..family import Picture
from .grounding_dino import GroundingDinoFinder

__all__ = ["GroundingDinoWhole"]


class GroundingDinoWhole(GroundingDinoFinder):
    """The graph `detector`, and BERT's tokenizer.

    Each phrase takes a run of its own: the graph makes the mask between phrases itself, and a graph that was traced
    with one phrase makes a wrong one for several. Only detections are cached, by image and phrase.
    """

    reads_together: ClassVar[bool] = False

    def __init__(self, bundle: Bundle, sessions: dict[str, Session], cache: ByteCache[Arrays]) -> None:
        super().__init__(bundle, sessions["detector"], cache, "detector")
        self._graph = sessions["detector"]
        size, ids = self._resize.size, (None, None)
        words = {"input_ids": ids, "token_type_ids": ids, "attention_mask": ids}
        image = {"pixel_values": (None, 3, size, size), "pixel_mask": (None, size, size)}
        outputs = {"logits": (None, None, None), "pred_boxes": (None, None, 4)}
        bundle.require("detector", inputs={**words, **image}, outputs=outputs)
        self._mask_type = bundle.graphs["detector"].inputs["pixel_mask"].dtype

    def _write(self, phrases: Sequence[tuple[int, ...]]) -> list[Caption]:
        return [caption for phrase in dict.fromkeys(phrases) for caption in self._captions.write([phrase])]

    def _encode_text(self, caption: Caption) -> Arrays:
        del caption
        return ()

    def _match(
        self, picture: Picture, caption: Caption, text: Arrays
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        del text
        ids = np.array([caption.ids], np.int64)
        pixels, mask = self._read_image(picture)
        results = self._graph.run(
            pixel_values=pixels,
            pixel_mask=mask.astype(self._mask_type),
            input_ids=ids,
            token_type_ids=np.zeros_like(ids),
            attention_mask=np.ones_like(ids),
        )
        outputs = dict(zip(self._graph.outputs, results, strict=True))
        return outputs["logits"][0], outputs["pred_boxes"][0]
