"""A segmenter that draws a fixed number of objects, whatever its random weights find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import automask
from automask.families.boxes import Boxes

from .peers import Masks, Pixels

Box = tuple[float, float, float, float]


def boxes_of(prompt: int, objects: int) -> list[Box]:
    """Return boxes in a photo of 640×480 pixels; those of the prompts 0 to 7 are all different."""
    left = 10.0 + 78 * prompt
    return [(left, 10.0 + 155 * number, left + 70, 150.0 + 155 * number) for number in range(objects)]


class FixedObjects:
    """Runs a model, but draws a fixed number of objects for each prompt.

    With a finder, no score reaches the threshold, and fixed boxes take the place of what was found. Of a model that
    gives masks, the best ones are drawn.

    Parameters
    ----------
    model
        Folder of the bundle.
    precision
        Precision of its graphs.
    threads
        Threads of each graph.
    """

    def __init__(self, model: str, precision: str, threads: int) -> None:
        self._segmenter = automask.load(model, device="cpu", precision=precision, threads=threads)
        self._objects = 0
        pipeline = self._segmenter._pipeline  # noqa: SLF001 (no public call fixes the number)
        family: Any = pipeline._family  # noqa: SLF001
        self._finds = isinstance(family, Boxes)
        if self._finds:
            family._finder = _Finder(family._finder, self)  # noqa: SLF001
        else:
            self._predict = family.predict
            family.predict = self._best

    def __call__(self, photo: Pixels, prompts: Sequence[str], objects: int) -> Masks:
        """Return one mask for each prompt, with so many objects; edges are the model's, as in the peers."""
        self._objects = objects
        threshold = 1.0 if self._finds else 0.0
        found = self._segmenter.mask(photo, list(prompts), threshold=threshold, grow_mask=0, edges="model")
        return [one.mask for one in found]

    def found(self, prompt: int) -> list[Box]:
        """Return the boxes that the finder is said to have found for a prompt, by its number."""
        return boxes_of(prompt, self._objects)

    def _best(self, *arguments: Any) -> list[Any]:  # noqa: ANN401 (as the original)
        return [replace(one, instances=one.instances[: self._objects]) for one in self._predict(*arguments)]


class _Finder:
    """Runs a finder, and returns fixed boxes."""

    def __init__(self, finder: Any, settings: FixedObjects) -> None:  # noqa: ANN401 (any finder)
        self._finder, self._settings = finder, settings

    def find(self, *arguments: Any) -> list[Any]:  # noqa: ANN401 (as the original)
        found = self._finder.find(*arguments)
        boxes = [np.array(self._settings.found(number), np.float32).reshape(-1, 4) for number in range(len(found))]
        return [
            replace(one, boxes=here, scores=np.ones(len(here), np.float32), labels=("object",) * len(here))
            for one, here in zip(found, boxes, strict=True)
        ]
