"""CLIPSeg as one graph, which reads an image and a prompt together, as ready-made files have it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...bundle import Bundle
from ...cache import Arrays, ByteCache
from ...device_resize import read_resize
from ...session import Session
from ...words.any_text import AnyText
from ...words.tokenizer import Tokenizer, Tokens
from ..family import Picture, Prediction, Stopwatch
from .clipseg import score_map

__all__ = ["CLIPSegWhole"]


class CLIPSegWhole:
    """The graph `segmenter`, and a tokenizer; parameters as for `Family`.

    The image is encoded again for every prompt; only results are cached, by image and prompt.

    Attributes
    ----------
    words
        Any text.
    """

    def __init__(self, bundle: Bundle, sessions: dict[str, Session], cache: ByteCache[Arrays]) -> None:
        self._graph, self._cache = sessions["segmenter"], cache
        self.words = self.read_words(bundle)
        self._tokenizer = Tokenizer(bundle.folder / bundle.text["file"], bundle.text["max_length"])
        self._calibration = bundle.calibration
        self._resize = read_resize(bundle.image["segmenter"], self._graph)
        size = self._resize.size
        ids = {"input_ids": (None, None), "attention_mask": (None, None)}
        pixels = {"pixel_values": (None, 3, size, size)}
        bundle.require("segmenter", inputs={**pixels, **ids}, outputs={"logits": None})
        self._at = self._graph.outputs.index("logits")

    @property
    def device(self) -> str:
        """The device on which the graph runs."""
        return self._graph.device

    @staticmethod
    def read_words(bundle: Bundle) -> AnyText:
        """Return the open vocabulary, which is the same for every bundle."""
        del bundle
        return AnyText()

    def score(self, picture: Picture, prompts: Sequence[str], watch: Stopwatch) -> list[Prediction]:
        """Return one prediction for each prompt; each prompt that is new to the image runs the graph once."""
        return [self._predict(picture, prompt, watch) for prompt in prompts]

    def _predict(self, picture: Picture, prompt: str, watch: Stopwatch) -> Prediction:
        with watch.stage("text"):
            tokens = self._tokenizer.encode(prompt)
        with watch.stage("encode"):
            key = (picture.key, "logits", tokens.ids)
            (logits,) = self._cache.get(key, lambda: self._run(picture, tokens))
        with watch.stage("masks"):
            scores = score_map(logits, picture.size, self._calibration)
        return Prediction((prompt,), tokens.dropped, tokens.warnings, score_map=scores)

    def _run(self, picture: Picture, tokens: Tokens) -> Arrays:
        """Return the logits, (h, w), of one prompt: by itself, unpadded, so that no other prompt changes it."""
        ids = np.array([tokens.ids], np.int64)
        pixels = self._resize.stretch(picture.pixels)
        logits = self._graph.run(pixel_values=pixels, input_ids=ids, attention_mask=np.ones_like(ids))[self._at]
        return (logits.reshape(logits.shape[-2:]),)  # with or without the axis of the one prompt
