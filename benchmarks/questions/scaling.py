"""How the time grows with the photo's size, the prompts of a call, the objects found, and the threads.

The embedded model and CLIPSeg in int8, from JPEG to PNG, beside CLIPSeg in transformers: there without objects, which
CLIPSeg does not have, and with 16 prompts at most, because its time grows too fast with them.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

import automask
from harness.drawing import colour, use_log_scale
from harness.machine import THREADS
from harness.models import clipseg
from harness.options import RunOptions
from harness.peers import clipseg_in_transformers
from harness.photos import PROMPTS, photo, unseen
from harness.stages import stage_times
from harness.tables import format_spread, table, with_target
from harness.timing import Contender, Spread, measure_in_turns, time_in_turns

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
_TITLES = {
    "megapixels": "its megapixels",
    "prompts": "prompts in one call",
    "objects": "objects found",
    "threads": "threads",
}
_MOST_IN_TRANSFORMERS = 16
_LARGE = "12"

Growth = dict[str, dict[str, Spread]]
"""Milliseconds by number (of megapixels, prompts, …) and contender."""


class Models:
    """The three contenders."""

    def __init__(self, options: RunOptions) -> None:
        checkpoint, self.bundle = clipseg(options, "fp32", "int8")
        self.embedded = automask.load(device="cpu", threads=THREADS)
        self.dense = automask.load(self.bundle, device="cpu", threads=THREADS)
        self._torch = clipseg_in_transformers(checkpoint)

    def in_transformers(self, jpeg: bytes, prompts: Sequence[str]) -> None:
        """Mask a photo in transformers, from JPEG to PNG."""
        pixels = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"), np.uint8)
        for mask in self._torch(pixels, prompts):
            Image.fromarray(mask).save(io.BytesIO(), "PNG")


def mask_unseen(segmenter: automask.Segmenter, jpeg: bytes, prompts: Sequence[str]) -> None:
    """Mask a photo that was not seen before, from JPEG to PNG."""
    for result in segmenter.mask(unseen(jpeg), prompts):
        assert result.output  # noqa: S101 (encoded when it is first used)


def texts(number: int, turn: int) -> list[str]:
    """Return prompts that were not used before."""
    return [f"the blue cup {turn:03d} {index:03d}" for index in range(number)]


def by_size(models: Models, options: RunOptions) -> Growth:
    """Time one prompt on photos of every size."""
    found = {}
    for megapixels, size in list(SIZES.items())[: options.pick(None, 2)]:
        jpeg = photo(*size)
        contenders: dict[str, Contender] = {
            EMBEDDED: lambda _, jpeg=jpeg: mask_unseen(models.embedded, jpeg, PROMPTS[:1]),  # type: ignore[misc]
            CLIPSEG: lambda turn, jpeg=jpeg: mask_unseen(models.dense, jpeg, texts(1, turn)),  # type: ignore[misc]
            TRANSFORMERS: lambda turn, jpeg=jpeg: models.in_transformers(jpeg, texts(1, turn)),  # type: ignore[misc]
        }
        found[megapixels] = time_in_turns(contenders, options.pick(7, 1), warm=options.warm)
    return found


def by_prompts(models: Models, options: RunOptions) -> Growth:
    """Time more and more prompts on one photo of 640×480."""
    jpeg, found = photo(*SIZES["0.3"]), {}
    words = list(dict.fromkeys((*PROMPTS, *models.embedded.vocabulary)))  # what is in the photo first
    for number in options.pick(MANY, MANY[:2]):
        contenders: dict[str, Contender] = {
            EMBEDDED: lambda _, number=number: mask_unseen(models.embedded, jpeg, words[:number]),  # type: ignore[misc]
            CLIPSEG: lambda turn, number=number: mask_unseen(models.dense, jpeg, texts(number, turn)),  # type: ignore[misc]
        }
        if number <= _MOST_IN_TRANSFORMERS:
            contenders[TRANSFORMERS] = lambda turn, number=number: models.in_transformers(jpeg, texts(number, turn))  # type: ignore[misc]
        found[str(number)] = time_in_turns(contenders, options.pick(7, 1), warm=options.warm, seconds=30)
    return found


def by_objects(models: Models, options: RunOptions) -> Growth:
    """Time more and more objects found in one photo, by a lower and lower threshold."""
    jpeg, prompt = photo(*SIZES["0.3"]), "person"
    scores = [one.score for one in models.embedded.mask(jpeg, prompt, threshold=0).instances]
    found = {}
    for number in options.pick(MANY_OBJECTS, MANY_OBJECTS[:2]):
        if number > len(scores):
            break  # the model draws only so many where scores are low
        mask = partial(models.embedded.mask, prompt=prompt, threshold=scores[number - 1])
        objects = len(mask(unseen(jpeg)).instances)
        contender: Contender = lambda _, mask=mask: mask(unseen(jpeg)).output  # type: ignore[misc] # noqa: E731
        found[str(objects)] = time_in_turns({EMBEDDED: contender}, options.pick(7, 1), warm=options.warm)
    return found


def by_threads(models: Models, options: RunOptions) -> Growth:
    """Time one photo of 640×480 with one thread, two, and so on, up to all threads of the machine."""
    jpeg, found = photo(*SIZES["0.3"]), {}
    for threads in [2**power for power in range(THREADS.bit_length())]:
        embedded, dense = (automask.load(model, device="cpu", threads=threads) for model in ("default", models.bundle))
        contenders: dict[str, Contender] = {
            EMBEDDED: lambda _, one=embedded: mask_unseen(one, jpeg, PROMPTS[:1]),  # type: ignore[misc]
            CLIPSEG: lambda turn, one=dense: mask_unseen(one, jpeg, texts(1, turn)),  # type: ignore[misc]
        }
        found[str(threads)] = time_in_turns(contenders, options.pick(15, 1), warm=options.warm)
    return found


def after_the_model(models: Models, options: RunOptions) -> dict[str, dict[str, Spread]]:
    """Measure post-processing of a large photo's mask, grown by 10 and by 100 pixels, and the whole call."""
    jpeg = photo(*SIZES[options.pick(_LARGE, "0.3")])

    def grown(radius: int, _: int) -> dict[str, float]:
        took = stage_times(models.embedded, unseen(jpeg), PROMPTS[0], grow_mask=radius)
        return {stage: took[stage] for stage in ("postprocess", "total")}

    return measure_in_turns(
        {str(radius): partial(grown, radius) for radius in (10, 100)}, options.pick(9, 1), warm=options.warm
    )


def measure(options: RunOptions) -> dict[str, Any]:
    """Measure each kind of growth."""
    models = Models(options)
    return {
        "megapixels": by_size(models, options),
        "prompts": by_prompts(models, options),
        "objects": by_objects(models, options),
        "threads": by_threads(models, options),
        "12 megapixels, by grow_mask": after_the_model(models, options),
    }


def markdown(figures: dict[str, Any]) -> str:
    """Format the figures that `measure` returned."""
    tables = []
    for what, growth in figures.items():
        names = list(next(iter(growth.values())))
        rows = [
            [number, *(format_spread(ms[name]) if name in ms else "-" for name in names)]
            for number, ms in growth.items()
        ]
        tables.append(table([what, *names], rows))
    ten, hundred = figures["12 megapixels, by grow_mask"].values()
    share = 100 * ten["postprocess"]["median"] / ten["total"]["median"]
    ratio = hundred["postprocess"]["median"] / ten["postprocess"]["median"]
    return (
        "**How the time grows** (JPEG to PNG, new photos, milliseconds)\n\n"
        + "\n".join(tables)
        + "\nOf a photo of 12 megapixels, post-processing at `grow_mask` 10 takes "
        f"{with_target(share, 5, at_least=False)} % of the time, and at 100 "
        f"{with_target(ratio, 1.5, at_least=False)} times as long as at 10.\n"
    )


def draw(axes: Sequence[Axes], figures: dict[str, Any]) -> None:
    """Draw how the time grows, one plot for each of what it grows with."""
    for axis, (what, title) in zip(axes, _TITLES.items(), strict=True):
        _draw_growth(axis, figures[what])
        axis.set_title(f"a photo, by {title}, ms", loc="left")


def _draw_growth(axis: Axes, growth: Growth) -> None:
    """Draw the medians on two logarithmic scales, with the quartiles as a band."""
    names = list(dict.fromkeys(name for ms in growth.values() for name in ms))
    for name in names:
        points = {float(number): ms[name] for number, ms in growth.items() if name in ms}
        quantiles = {key: [one[key] for one in points.values()] for key in ("q1", "median", "q3")}
        axis.plot(list(points), quantiles["median"], "o-", label=name, color=colour(name))
        axis.fill_between(list(points), quantiles["q1"], quantiles["q3"], color=colour(name), alpha=0.2)
    axis.set_xscale("log")
    use_log_scale(axis)
    axis.set_xticks([float(number) for number in growth], list(growth))
    axis.set_xticks([], minor=True)
