"""OWL-ViT and OWLv2: every patch of the image is a box with an embedding, which is compared with those of the phrases.

Sources: arXiv:2205.06230 and arXiv:2306.09683.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...bundle import Bundle
from ...cache import Arrays, ByteCache
from ...device_resize import read_resize
from ...session import Session
from ...words.free_text import FreeText
from ...words.grammar import DETERMINERS
from ...words.tokenizer import Tokenizer, Tokens
from ..family import Picture, Prediction, Stopwatch
from .finder import Detections
from .ranking import rank

__all__ = ["Owl", "OwlFinder"]


class OwlFinder:
    """What both forms of the model share: phrases in the template, boxes and logits to objects.

    A prompt of several phrases takes each box once, for its best phrase, as transformers'
    `post_process_grounded_object_detection` does. OWLv2's output `objectness` is not used: neither there nor in the
    authors' own inference does it change the score of a phrase.
    """

    reads_together: ClassVar[bool] = False

    def __init__(self, bundle: Bundle, image_graph: Session) -> None:
        self.words = self.read_words(bundle)
        self._tokenizer = Tokenizer(bundle.folder / bundle.text["file"], bundle.text["max_length"])
        self._template: str = bundle.text["template"]
        settings = bundle.image["detector"]
        self._resize, self._pads = read_resize(settings, image_graph), settings["resize"] == "pad"
        self._calibration = np.array(bundle.calibration, np.float32).T

    @staticmethod
    def read_words(bundle: Bundle) -> FreeText:
        """Return the open vocabulary, which is the same for every bundle."""
        del bundle
        return FreeText()

    def find(
        self, picture: Picture, prompts: Sequence[tuple[str, ...]], thresholds: Sequence[float], watch: Stopwatch
    ) -> list[Detections]:
        """Return the objects of each prompt with a score at or above its threshold, up to `MAX_INSTANCES`."""
        distinct = list(dict.fromkeys(phrase for prompt in prompts for phrase in prompt))
        with watch.stage("text"):
            tokens = {phrase: self._tokenize(phrase) for phrase in distinct}
        shares, logits = self._match(picture, list(tokens.values()), watch)
        with watch.stage("detect"):
            boxes = self._locate(shares, picture)
            found = []
            for prompt, threshold in zip(prompts, thresholds, strict=True):
                own = logits[:, [distinct.index(phrase) for phrase in prompt]]
                labels = [prompt[index] for index in own.argmax(axis=1)]  # of scores, several may be 1
                prediction = _describe(prompt, [tokens[phrase] for phrase in prompt])
                found.append(rank(prediction, boxes, self._score(own.max(axis=1)), labels, threshold))
        return found

    def _match(
        self, picture: Picture, phrases: Sequence[Tokens], watch: Stopwatch
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return boxes, (n, 4) as shares of the input, and the logit of each for each phrase, (n, phrases)."""
        raise NotImplementedError

    def _tokenize(self, phrase: str) -> Tokens:
        """Return the tokens of a phrase in the template, or of a phrase alone that is too long for both."""
        has_article = phrase.partition(" ")[0].casefold() in DETERMINERS
        template = self._template.replace(" a {}", " {}") if has_article else self._template
        whole = self._tokenizer.encode(template.replace("{}", phrase))
        return self._tokenizer.encode(phrase) if whole.dropped else whole

    def _prepare(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the input of the image, (1, 3, size, size)."""
        return self._resize.pad(pixels) if self._pads else self._resize.stretch(pixels)

    def _locate(self, boxes: NDArray[np.float32], picture: Picture) -> NDArray[np.float32]:
        """Return left, top, right, bottom in pixels of the image, from centres and sizes in shares of the input."""
        height, width = picture.size
        sides = (max(height, width),) * 4 if self._pads else (width, height) * 2
        corners = np.concatenate((boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2), axis=1)
        limits = np.array((width, height) * 2, np.float32)
        return np.asarray(np.clip(corners * np.array(sides, np.float32), 0, limits), np.float32)

    def _score(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return calibrated scores."""
        raw, calibrated = self._calibration
        scores = np.interp(
            0.5 + 0.5 * np.tanh(0.5 * logits), raw, calibrated
        )  # the logistic function, without overflow
        return np.asarray(scores, np.float32)


class Owl(OwlFinder):
    """The graphs `detector` and `text_encoder`, and a tokenizer.

    The image's boxes and embeddings are cached by image, a phrase's embedding by its tokens; what remains for a new
    pair is one matrix product.
    """

    def __init__(self, bundle: Bundle, sessions: dict[str, Session], cache: ByteCache[Arrays]) -> None:
        super().__init__(bundle, sessions["detector"])
        self._image_graph, self._text_graph = sessions["detector"], sessions["text_encoder"]
        self._cache = cache
        _check_graphs(bundle, self._resize.size)

    def _match(
        self, picture: Picture, phrases: Sequence[Tokens], watch: Stopwatch
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        with watch.stage("text"):
            embeddings = np.concatenate([self._embed(phrase) for phrase in phrases])
        with watch.stage("detect"):
            outputs = self._cache.get((picture.key, "detections"), lambda: self._detect(picture))
            return outputs[0], _compare(outputs, embeddings)

    def _embed(self, tokens: Tokens) -> NDArray[np.float32]:
        """Return the embedding of one phrase, (1, d): by itself, unpadded, so that no other phrase changes it."""
        return self._cache.get(("text", tokens.ids), lambda: self._run_text_encoder(tokens))[0]

    def _run_text_encoder(self, tokens: Tokens) -> Arrays:
        ids = np.array([tokens.ids], np.int64)
        return self._text_graph.run(input_ids=ids, attention_mask=np.ones_like(ids))

    def _detect(self, picture: Picture) -> Arrays:
        """Return boxes, (n, 4) as shares of the input, embeddings, (n, d), shifts and scales, (n, 1)."""
        results = self._image_graph.run(pixel_values=self._prepare(picture.pixels))
        outputs = dict(zip(self._image_graph.outputs, results, strict=True))
        return tuple(outputs[name][0] for name in ("boxes", "class_embeds", "shift", "scale"))


def _compare(outputs: Arrays, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logit of each box for each phrase, (n, phrases)."""
    _, own, shift, scale = outputs
    return np.asarray((own @ embeddings.T + shift) * scale, np.float32)


def _describe(phrases: tuple[str, ...], tokens: Sequence[Tokens]) -> Prediction:
    dropped = tuple(words for one in tokens for words in one.dropped)
    warnings = tuple(dict.fromkeys(warning for one in tokens for warning in one.warnings))
    return Prediction(phrases, dropped, warnings)


def _check_graphs(bundle: Bundle, size: int) -> None:
    boxes, embeddings, one = (None, None, 4), (None, None, None), (None, None, 1)
    bundle.require(
        "detector",
        inputs={"pixel_values": (None, 3, size, size)},
        outputs={"boxes": boxes, "class_embeds": embeddings, "shift": one, "scale": one},
    )
    ids = {"input_ids": (None, None), "attention_mask": (None, None)}
    bundle.require("text_encoder", inputs=ids, outputs={"text_embeds": (None, None)})
