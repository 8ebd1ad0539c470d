"""CLIPSeg: any text becomes one score for each pixel.

Source: CLIPSeg, arXiv:2112.10003.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ...bundle import Bundle
from ...cache import Arrays, ByteCache
from ...device_resize import read_resize
from ...session import Session
from ...words.any_text import AnyText
from ...words.tokenizer import Tokenizer, Tokens
from ..family import Picture, Prediction, Stopwatch

__all__ = ["CLIPSeg", "score_map"]


class CLIPSeg:
    """The graphs `image_encoder`, `text_encoder` and `mask_decoder`, and a tokenizer; parameters as for `Family`.

    Activations are cached by image, embeddings by prompt.

    Attributes
    ----------
    words
        Any text.
    """

    def __init__(self, bundle: Bundle, sessions: dict[str, Session], cache: ByteCache[Arrays]) -> None:
        roles = ("image_encoder", "text_encoder", "mask_decoder")
        self._image_graph, self._text_graph, self._decoder_graph = (sessions[role] for role in roles)
        self._cache = cache
        self.words = self.read_words(bundle)
        self._tokenizer = Tokenizer(bundle.folder / bundle.text["file"], bundle.text["max_length"])
        self._calibration = bundle.calibration
        self._resize = read_resize(bundle.image["image_encoder"], self._image_graph)
        _check_graphs(bundle, self._resize.size)

    @property
    def device(self) -> str:
        """The device on which the graphs run."""
        return self._image_graph.device

    @staticmethod
    def read_words(bundle: Bundle) -> AnyText:
        """Return the open vocabulary, which is the same for every bundle."""
        del bundle
        return AnyText()

    def score(self, picture: Picture, prompts: Sequence[str], watch: Stopwatch) -> list[Prediction]:
        """Return one prediction for each prompt; together they cost one image encoding and one decoder call."""
        distinct = list(dict.fromkeys(prompts))
        with watch.stage("text"):
            tokens = [self._tokenizer.encode(prompt) for prompt in distinct]
            embeddings = np.concatenate([self._embed(one) for one in tokens])
        with watch.stage("encode"):
            activations = self._cache.get((picture.key, "activations"), lambda: self._encode(picture))
        with watch.stage("masks"):
            inputs = {f"activation_{index}": one for index, one in enumerate(activations)}
            (logits,) = self._decoder_graph.run(conditional_embedding=embeddings, **inputs)
            predictions = {
                prompt: Prediction(
                    labels=(prompt,),
                    dropped=one.dropped,
                    warnings=one.warnings,
                    score_map=score_map(plane, picture.size, self._calibration),
                )
                for prompt, one, plane in zip(distinct, tokens, logits, strict=True)
            }
        return [predictions[prompt] for prompt in prompts]

    def _embed(self, tokens: Tokens) -> NDArray[np.float32]:
        """Return the embedding of one prompt, (1, d): by itself, unpadded, so that no other prompt changes it."""
        key = ("embedding", tokens.ids)
        return self._cache.get(key, lambda: self._run_text_encoder(tokens))[0]

    def _run_text_encoder(self, tokens: Tokens) -> Arrays:
        ids = np.array([tokens.ids], np.int64)
        return self._text_graph.run(input_ids=ids, attention_mask=np.ones_like(ids))

    def _encode(self, picture: Picture) -> Arrays:
        return self._image_graph.run_on_device(pixel_values=self._resize.stretch(picture.pixels))


def score_map(
    logits: NDArray[np.float32], size: tuple[int, int], calibration: Sequence[tuple[float, float]]
) -> NDArray[np.float32]:
    """Return the scores of an image, (H, W) in 0..1.

    Parameters
    ----------
    logits
        Of the decoder, (h, w).
    size
        Height and width of the image, in pixels.
    calibration
        As in `Bundle`.
    """
    scores = 0.5 + 0.5 * np.tanh(0.5 * logits)  # the logistic function, without overflow
    raw, calibrated = zip(*calibration, strict=True)
    if raw != calibrated:
        scores = np.interp(scores, raw, calibrated).astype(np.float32)
    height, width = size
    return np.asarray(cv2.resize(scores, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _check_graphs(bundle: Bundle, size: int) -> None:
    activations = dict.fromkeys(f"activation_{index}" for index in range(len(bundle.graphs["image_encoder"].outputs)))
    bundle.require("image_encoder", inputs={"pixel_values": (None, 3, size, size)}, outputs=activations)
    ids = {"input_ids": (None, None), "attention_mask": (None, None)}
    bundle.require("text_encoder", inputs=ids, outputs={"conditional_embedding": (None, None)})
    decoder = {**activations, "conditional_embedding": (None, None)}
    bundle.require("mask_decoder", inputs=decoder, outputs={"logits": (None, None, None)})
