"""Grounding DINO: a detector that reads phrases. MM-Grounding-DINO and LLMDet have the same graphs.

Sources: arXiv:2303.05499, arXiv:2401.02361, arXiv:2501.18954.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...bundle import Bundle
from ...cache import Arrays, ByteCache
from ...device_resize import read_resize
from ...session import Session
from ...words.captions import Caption, CaptionWriter, Phrase, attention
from ...words.free_text import FreeText
from ..family import Picture, Prediction, Stopwatch
from .finder import Detections
from .ranking import distinct, rank

__all__ = ["Candidates", "GroundingDino", "GroundingDinoFinder"]

_Ids: TypeAlias = tuple[int, ...]  # a tokenized phrase


class Candidates(NamedTuple):
    """Boxes, (n, 4) in pixels of the image, with the score and the label of their best phrase."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: list[str]


class _Found(NamedTuple):
    """What was found for one phrase: number of its caption, boxes (queries, 4), and scores (queries,)."""

    caption: int
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]


class GroundingDinoFinder:
    """What both forms of the model share: phrases in captions, logits of tokens and boxes to objects.

    Notes
    -----
    transformers keeps a box if any token's probability is over the box threshold, and joins all tokens over the text
    threshold to its label. Here, each phrase scores a box by the best of its own tokens, and a prompt takes the best of
    its phrases. That is the same score wherever the best token is a word and no separator, and the label's words are
    then of that phrase; a label that transformers joins from several phrases becomes the best one of them.

    Boxes are not suppressed: the model is trained to give each object one. Only objects that two phrases of a prompt
    both found are taken once.

    Parameters
    ----------
    bundle
        The bundle.
    graph, role
        The graph that reads the image, and its role.
    cache
        Keeps detections by image and caption.
    """

    reads_together: ClassVar[bool] = True

    def __init__(self, bundle: Bundle, graph: Session, cache: ByteCache[Arrays], role: str) -> None:
        self.words = self.read_words(bundle)
        self._cache = cache
        self._captions = CaptionWriter(bundle.folder, bundle.text)
        self._resize = read_resize(bundle.image[role], graph)
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
        phrases, found = self._search(picture, (phrase for prompt in prompts for phrase in prompt), watch)
        return [
            _choose({phrase: phrases[phrase] for phrase in prompt}, found, threshold)
            for prompt, threshold in zip(prompts, thresholds, strict=True)
        ]

    def candidates(self, picture: Picture, phrases: Sequence[str]) -> Candidates:
        """Return all boxes for the phrases of one prompt, from which `find` takes the best ones."""
        read, found = self._search(picture, phrases, Stopwatch())
        return _candidates({phrase: read[phrase].ids for phrase in phrases if read[phrase].ids}, found)

    def _search(
        self, picture: Picture, phrases: Iterable[str], watch: Stopwatch
    ) -> tuple[dict[str, Phrase], dict[_Ids, _Found]]:
        """Return the phrases, tokenized, and what was found for each."""
        with watch.stage("text"):
            read = {phrase: self._captions.read(phrase) for phrase in dict.fromkeys(phrases)}
            captions = self._write([phrase.ids for phrase in read.values()])
            texts = [self._encode_text(caption) for caption in captions]
        with watch.stage("detect"):
            found: dict[_Ids, _Found] = {}
            for number, (caption, text) in enumerate(zip(captions, texts, strict=True)):
                boxes, scores = self._detect(picture, caption, text)
                columns = zip(caption.spans, scores.T, strict=True)
                found |= {ids: _Found(number, boxes, column) for ids, column in columns}
        return read, found

    def _detect(self, picture: Picture, caption: Caption, text: Arrays) -> Arrays:
        """Return boxes, (queries, 4) in pixels of the image, and calibrated scores, (queries, phrases)."""

        def run() -> Arrays:
            logits, boxes = self._match(picture, caption, text)
            spans = caption.spans.values()
            best = np.stack([logits[:, start:end].max(axis=1) for start, end in spans], axis=1)
            scores = 0.5 + 0.5 * np.tanh(0.5 * best)  # the logistic function, without overflow
            return _corners(boxes, picture.size), np.interp(scores, *self._calibration).astype(np.float32)

        return self._cache.get((picture.key, "detections", caption.ids), run)

    def _read_image(self, picture: Picture) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return pixels, (1, 3, size, size), and mask, (1, size, size): 1 where there is no padding."""
        size, (height, width) = self._resize.size, self._resize.covered(picture.size)
        mask = np.zeros((1, size, size), np.float32)
        mask[:, :height, :width] = 1
        return self._resize.apply(picture.pixels, picture.size), mask

    def _write(self, phrases: Sequence[_Ids]) -> list[Caption]:
        """Join phrases to captions; each is one run of the detector."""
        raise NotImplementedError

    def _encode_text(self, caption: Caption) -> Arrays:
        """Return what depends on the words alone."""
        raise NotImplementedError

    def _match(
        self, picture: Picture, caption: Caption, text: Arrays
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return logits, (queries, tokens), and boxes, (queries, 4): centre and size relative to the image."""
        raise NotImplementedError


class GroundingDino(GroundingDinoFinder):
    """The graphs `text_encoder`, `detector_encoder` and `detector`, and BERT's tokenizer.

    All phrases of a call are read in one pass of the detector, as long as they fit into one caption. Features of the
    image are cached by image, those of the words by caption, and detections by both.
    """

    def __init__(self, bundle: Bundle, sessions: dict[str, Session], cache: ByteCache[Arrays]) -> None:
        super().__init__(bundle, sessions["detector_encoder"], cache, "detector_encoder")
        roles = ("text_encoder", "detector_encoder", "detector")
        self._text_graph, self._image_graph, self._detector_graph = (sessions[role] for role in roles)
        _check_graphs(bundle, self._resize.size)

    def _write(self, phrases: Sequence[_Ids]) -> list[Caption]:
        return self._captions.write(phrases)

    def _encode_text(self, caption: Caption) -> Arrays:
        """Return the inputs of the detector that depend on the words alone: features, phrase mask and positions."""
        mask, positions = attention(caption.ids, self._captions.separators)
        inputs: dict[str, NDArray[Any]] = {
            "phrase_mask": mask[None].astype(np.float32),
            "position_ids": positions[None],
        }
        ids = np.array([caption.ids], np.int64)
        features = self._cache.get(
            ("text", caption.ids), lambda: self._text_graph.run_on_device(input_ids=ids, **inputs)
        )
        return (*features, *inputs.values())

    def _encode_image(self, picture: Picture) -> Arrays:
        """Return features and mask of the image's cells."""
        pixels, mask = self._read_image(picture)
        return self._image_graph.run_on_device(pixel_values=pixels, pixel_mask=mask)

    def _match(
        self, picture: Picture, caption: Caption, text: Arrays
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        del caption
        vision, vision_mask = self._cache.get((picture.key, "vision"), lambda: self._encode_image(picture))
        features, mask, positions = text
        logits, boxes = self._detector_graph.run(
            vision=vision, vision_mask=vision_mask, text=features, phrase_mask=mask, position_ids=positions
        )
        return logits, boxes


def _corners(boxes: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return left, top, right and bottom in pixels, from centre, width and height relative to the image."""
    height, width = size
    centres, halves = boxes[:, :2], boxes[:, 2:] / 2
    limits = np.array([width, height] * 2, np.float32)
    return np.clip(np.concatenate((centres - halves, centres + halves), axis=1) * limits, 0, limits)


def _choose(phrases: Mapping[str, Phrase], found: Mapping[_Ids, _Found], threshold: float) -> Detections:
    """Return the best objects of the phrases of one prompt."""
    read = list(phrases.values())
    dropped = tuple(words for phrase in read for words in phrase.dropped)
    warnings = tuple(dict.fromkeys(sentence for phrase in read for sentence in phrase.warnings))
    all_of_them = _candidates({name: phrase.ids for name, phrase in phrases.items() if phrase.ids}, found)
    boxes, scores, labels = all_of_them
    kept = distinct(boxes, scores, labels, threshold)
    prediction = Prediction(tuple(phrases), dropped, warnings)
    return rank(prediction, boxes[kept], scores[kept], [labels[index] for index in kept], threshold)


def _candidates(phrases: Mapping[str, _Ids], found: Mapping[_Ids, _Found]) -> Candidates:
    """Return the boxes of each caption once, with their best phrase."""
    captions: dict[int, dict[str, _Found]] = {}
    for name, ids in phrases.items():
        captions.setdefault(found[ids].caption, {})[name] = found[ids]
    boxes, scores, labels = [np.empty((0, 4), np.float32)], [np.empty(0, np.float32)], []
    for members in captions.values():
        names, table = list(members), np.stack([one.scores for one in members.values()])
        boxes.append(members[names[0]].boxes)
        scores.append(table.max(axis=0))
        labels += [names[index] for index in table.argmax(axis=0)]
    return Candidates(np.concatenate(boxes), np.concatenate(scores), labels)


def _check_graphs(bundle: Bundle, size: int) -> None:
    text = {"phrase_mask": (None, None, None), "position_ids": (None, None)}
    features = {"text": (None, None, None)}
    bundle.require("text_encoder", inputs={"input_ids": (None, None), **text}, outputs=features)
    image = {"pixel_values": (None, 3, size, size), "pixel_mask": (None, size, size)}
    cells = {"vision": (None, None, None), "vision_mask": (None, None)}
    bundle.require("detector_encoder", inputs=image, outputs=cells)
    found = {"logits": (None, None), "boxes": (None, 4)}
    bundle.require("detector", inputs={**cells, **features, **text}, outputs=found)
