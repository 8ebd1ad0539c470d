"""How the cost grows: with the photo's size, the prompts of a call, the objects found, and the threads.

The embedded model and CLIPSeg in int8, from JPEG to PNG, beside CLIPSeg in transformers where it takes part: it knows
no objects, and with prompts its cost grows so that it is not asked for more than 16.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

import automask
from harness.machine import THREADS
from harness.models import clipseg
from harness.peers import clipseg_in_transformers
from harness.photos import PROMPTS, photo, unseen
from harness.turns import Contender, Spread, by_turns, figures_by_turns, show, table, target
from harness.workplace import Workplace
from questions.pipeline import stages_of_one

SIZES = {
    "0.1": (400, 300),
    "0.3": (640, 480),
    "1": (1200, 800),
    "3": (2000, 1500),
    "12": (4000, 3000),
    "48": (8000, 6000),
}
MANY = (1, 2, 4, 8, 16, 32, 64)
MANY_OBJECTS = (1, 3, 10, 30, 100)
EMBEDDED, CLIPSEG, TRANSFORMERS = "embedded int8", "CLIPSeg int8", "CLIPSeg in transformers"
_MOST_IN_TRANSFORMERS = 16
_LARGE = "12"

Growth = dict[str, dict[str, Spread]]
"""Milliseconds by number (of megapixels, prompts, …) and contender."""


class Models:
    """The three contenders."""

    def __init__(self, workplace: Workplace) -> None:
        checkpoint, self.bundle = clipseg(workplace, "fp32", "int8")
        self.embedded = automask.load(device="cpu", threads=THREADS)
        self.dense = automask.load(self.bundle, device="cpu", threads=THREADS)
        self._torch = clipseg_in_transformers(checkpoint)

    def in_transformers(self, jpeg: bytes, prompts: Sequence[str]) -> None:
        """From JPEG to PNG."""
        pixels = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"), np.uint8)
        for mask in self._torch(pixels, prompts):
            Image.fromarray(mask).save(io.BytesIO(), "PNG")


def answer(segmenter: automask.Segmenter, jpeg: bytes, prompts: Sequence[str]) -> None:
    """From JPEG to PNG, with a photo that was not seen before."""
    for result in segmenter.mask(unseen(jpeg), prompts):
        assert result.output  # noqa: S101 (made when it is asked for)


def texts(number: int, turn: int) -> list[str]:
    """Give prompts that were not asked for before."""
    return [f"the blue cup {turn:03d} {index:03d}" for index in range(number)]


def by_size(models: Models, workplace: Workplace) -> Growth:
    """One prompt on photos of any size."""
    found = {}
    for megapixels, size in list(SIZES.items())[: workplace.pick(None, 2)]:
        jpeg = photo(*size)
        contenders: dict[str, Contender] = {
            EMBEDDED: lambda _, jpeg=jpeg: answer(models.embedded, jpeg, PROMPTS[:1]),  # type: ignore[misc]
            CLIPSEG: lambda turn, jpeg=jpeg: answer(models.dense, jpeg, texts(1, turn)),  # type: ignore[misc]
            TRANSFORMERS: lambda turn, jpeg=jpeg: models.in_transformers(jpeg, texts(1, turn)),  # type: ignore[misc]
        }
        found[megapixels] = by_turns(contenders, workplace.pick(7, 1))
    return found


def by_prompts(models: Models, workplace: Workplace) -> Growth:
    """Many prompts on one photo of 640×480."""
    jpeg, found = photo(*SIZES["0.3"]), {}
    words = list(dict.fromkeys((*PROMPTS, *models.embedded.vocabulary)))  # what is in the photo first
    for number in workplace.pick(MANY, MANY[:2]):
        contenders: dict[str, Contender] = {
            EMBEDDED: lambda _, number=number: answer(models.embedded, jpeg, words[:number]),  # type: ignore[misc]
            CLIPSEG: lambda turn, number=number: answer(models.dense, jpeg, texts(number, turn)),  # type: ignore[misc]
        }
        if number <= _MOST_IN_TRANSFORMERS:
            contenders[TRANSFORMERS] = lambda turn, number=number: models.in_transformers(jpeg, texts(number, turn))  # type: ignore[misc]
        found[str(number)] = by_turns(contenders, workplace.pick(7, 1), seconds=30)
    return found


def by_objects(models: Models, workplace: Workplace) -> Growth:
    """Find more and more objects in one photo, by a lower and lower threshold."""
    jpeg, prompt = photo(*SIZES["0.3"]), "person"
    scores = [one.score for one in models.embedded.mask(jpeg, prompt, threshold=0).instances]
    found = {}
    for number in workplace.pick(MANY_OBJECTS, MANY_OBJECTS[:2]):
        ask = partial(models.embedded.mask, prompt=prompt, threshold=scores[number - 1])
        ran = len(ask(unseen(jpeg)).instances)
        found[str(ran)] = by_turns({EMBEDDED: lambda _, ask=ask: ask(unseen(jpeg)).output}, workplace.pick(7, 1))  # type: ignore[misc]
    return found


def by_threads(models: Models, workplace: Workplace) -> Growth:
    """One photo of 640×480 with one thread, with two, …, as many as there are."""
    jpeg, found = photo(*SIZES["0.3"]), {}
    for threads in [2**power for power in range(THREADS.bit_length())]:
        embedded, dense = (automask.load(model, device="cpu", threads=threads) for model in ("default", models.bundle))
        contenders: dict[str, Contender] = {
            EMBEDDED: lambda _, one=embedded: answer(one, jpeg, PROMPTS[:1]),  # type: ignore[misc]
            CLIPSEG: lambda turn, one=dense: answer(one, jpeg, texts(1, turn)),  # type: ignore[misc]
        }
        found[str(threads)] = by_turns(contenders, workplace.pick(15, 1))
    return found


def after_the_model(models: Models, workplace: Workplace) -> dict[str, dict[str, Spread]]:
    """Post-process a large photo's mask, grown by 10 and by 100 pixels, beside everything else."""
    jpeg = photo(*SIZES[workplace.pick(_LARGE, "0.3")])

    def grown(radius: int, _: int) -> dict[str, float]:
        took = stages_of_one(models.embedded, unseen(jpeg), PROMPTS[0], grow_mask=radius)
        return {stage: took[stage] for stage in ("postprocess", "total")}

    return figures_by_turns({str(radius): partial(grown, radius) for radius in (10, 100)}, workplace.pick(9, 1))


def measure(workplace: Workplace) -> dict[str, Any]:
    """Grow one after the other."""
    models = Models(workplace)
    return {
        "megapixels": by_size(models, workplace),
        "prompts": by_prompts(models, workplace),
        "objects": by_objects(models, workplace),
        "threads": by_threads(models, workplace),
        "12 megapixels, by grow_mask": after_the_model(models, workplace),
    }


def markdown(figures: dict[str, Any]) -> str:
    """Lay out what `measure` gave."""
    tables = []
    for what, growth in figures.items():
        names = list(next(iter(growth.values())))
        rows = [[number, *(show(ms[name]) if name in ms else "-" for name in names)] for number, ms in growth.items()]
        tables.append(table([what, *names], rows))
    ten, hundred = figures["12 megapixels, by grow_mask"].values()
    share = 100 * ten["postprocess"]["median"] / ten["total"]["median"]
    ratio = hundred["postprocess"]["median"] / ten["postprocess"]["median"]
    return (
        "**How the cost grows** (JPEG to PNG, new photos, milliseconds)\n\n"
        + "\n".join(tables)
        + "\nOf a photo of 12 megapixels, post-processing at `grow_mask` 10 takes "
        f"{target(share, 5, at_least=False)} % of the time, and at 100 "
        f"{target(ratio, 1.5, at_least=False)} times as long as at 10.\n"
    )
