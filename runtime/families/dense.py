"""Family `dense`: any text becomes one score for each pixel.

Source: CLIPSeg, arXiv:2112.10003.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle
from ..cache import Arrays, ByteCache
from ..errors import ParameterError
from ..preprocess import Resize
from ..session import Session
from ..words.tokenizer import Tokenizer, Tokens
from . import Picture, Prediction, Stopwatch

__all__ = ["AnyText", "Dense"]


class AnyText:
    """An open vocabulary: any text but a blank one."""

    labels: tuple[str, ...] = ()

    def resolve(self, prompt: str) -> str:
        """Return the prompt as it is.

        Raises
        ------
        ParameterError
            The prompt is blank.
        """
        if not prompt.strip():
            raise ParameterError("prompt", "name something to mask", prompt)
        return prompt


class Dense:
    """The graphs `image_encoder`, `text_encoder` and `mask_decoder`, and the tokenizer.

    Parameters
    ----------
    bundle
        A bundle of this family.
    sessions
        A session for each of the three graphs, by role.
    cache
        Keeps activations by picture and embeddings by prompt.
    """

    def __init__(self, bundle: Bundle, sessions: dict[str, Session], cache: ByteCache[Arrays]) -> None:
        roles = ("image_encoder", "text_encoder", "mask_decoder")
        self._image_graph, self._text_graph, self._decoder_graph = (sessions[role] for role in roles)
        self._cache = cache
        self.words = self.read_words(bundle)
        self._tokenizer = Tokenizer(bundle.folder / bundle.text["file"], bundle.text["max_length"])
        self._calibration = bundle.calibration
        self._resize = Resize.read(bundle.image["image_encoder"])

    @property
    def device(self) -> str:
        """Where the graphs run."""
        return self._image_graph.device

    @staticmethod
    def read_words(bundle: Bundle) -> AnyText:
        """There is nothing to read."""
        del bundle
        return AnyText()

    def predict(
        self, picture: Picture, prompts: Sequence[str], thresholds: Sequence[float], watch: Stopwatch
    ) -> list[Prediction]:
        """Return one prediction for each prompt; together they cost one image encoding and one decoder call."""
        del thresholds  # are applied to the score maps, by the caller
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
                    score_map=self._score_map(plane, picture.size),
                )
                for prompt, one, plane in zip(distinct, tokens, logits, strict=True)
            }
        return [predictions[prompt] for prompt in prompts]

    def _embed(self, tokens: Tokens) -> NDArray[np.float32]:
        """(1, d); each prompt by itself, without padding, so that it does not depend on its neighbours."""
        key = ("embedding", tokens.ids)
        return self._cache.get(key, lambda: self._run_text_encoder(tokens))[0]

    def _run_text_encoder(self, tokens: Tokens) -> Arrays:
        ids = np.array([tokens.ids], np.int64)
        return self._text_graph.run(input_ids=ids, attention_mask=np.ones_like(ids))

    def _encode(self, picture: Picture) -> Arrays:
        return self._image_graph.run(pixel_values=self._resize.stretch(picture.pixels))

    def _score_map(self, logits: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
        """(H, W) in 0..1, from the decoder's plane of logits."""
        scores = 0.5 + 0.5 * np.tanh(0.5 * logits)  # the logistic function, without overflow
        raw, calibrated = zip(*self._calibration, strict=True)
        if raw != calibrated:
            scores = np.interp(scores, raw, calibrated).astype(np.float32)
        height, width = size
        return np.asarray(cv2.resize(scores, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
