"""A photo end to end: the embedded model and CLIPSeg beside the same models in torch, and rembg.

All get the same photos and the same number of threads. The embedded model goes from JPEG to PNG, beside MobileSAM in
torch at 1024 pixels without a detector, and beside rembg, which takes no words and masks the foreground. CLIPSeg goes
from pixels to masks of the same size, beside transformers. torch and transformers run eager. The weights of CLIPSeg and
of MobileSAM in torch are random, because the time does not depend on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

import automask
from harness.drawing import colour
from harness.machine import THREADS
from harness.models import clipseg
from harness.options import MissingRequirementError, RunOptions
from harness.peers import THRESHOLD, Masks, MobileSamInTorch, Pixels, clipseg_in_transformers, rembg
from harness.photos import PROMPTS, noise, photo, unseen
from harness.stages import STAGES, stage_times
from harness.tables import digits, format_spread, table, with_target
from harness.timing import Contender, Spread, measure_in_turns, speedup, time_in_turns

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (640, 480)
CASES = {
    "new photo, new prompt": (1, 1.2, 2.0),
    "new photo, cached prompt": (1, 1.3, 2.2),
    "same photo, new prompt": (1, 8.0, 8.0),
    "new photo, 8 prompts": (8, 6.0, 6.0),
}
"""Prompts of a call, and the target speedup over transformers in fp32 and in int8."""


class Embedded:
    """The contenders that go from JPEG to PNG."""

    def __init__(self, options: RunOptions) -> None:
        self.left_out: list[str] = []
        self._jpeg = photo(*SIZE)
        self._ours = {kind: automask.load(device="cpu", precision=kind, threads=THREADS) for kind in ("int8", "fp32")}
        self._torch = MobileSamInTorch(side=options.pick(1024, 256))
        self._boxes = [one.box for one in self._ours["int8"].mask(self._jpeg, PROMPTS[0]).instances]
        self._seen = self._torch.read(self._jpeg)
        self._embedding = self._torch.encode(self._seen)
        try:
            self._rembg = None if options.quick else rembg(options.folder / "u2net")
        except MissingRequirementError as reason:
            self._rembg = None
            self.left_out.append(str(reason))

    def new(self) -> dict[str, Contender]:
        """Return the contenders on a new photo."""
        ours: dict[str, Contender] = {
            f"automask {kind}": lambda _, one=one: one.mask(unseen(self._jpeg), PROMPTS[0]).output  # type: ignore[misc]
            for kind, one in self._ours.items()
        }
        ours["MobileSAM in torch"] = lambda _: self._torch(unseen(self._jpeg), self._boxes)
        if self._rembg:
            remove = self._rembg
            ours["rembg"] = lambda _: remove(unseen(self._jpeg))
        return ours

    def again(self) -> dict[str, Contender]:
        """Return the contenders with another prompt on the same photo; rembg takes no prompt."""
        ours: dict[str, Contender] = {
            f"automask {kind}": lambda turn, one=one: one.mask(self._jpeg, PROMPTS[turn % 2]).output  # type: ignore[misc]
            for kind, one in self._ours.items()
        }
        return ours | {"MobileSAM in torch": lambda _: self._torch.draw(self._embedding, self._seen, self._boxes)}


def different_prompts(series: int, number: int) -> Iterator[list[str]]:
    """Yield lists of `number` prompts. All prompts differ, also from those of another series."""
    return ([f"the blue cup {start + i:06d}" for i in range(number)] for start in count(10_000 * series, number))


def calls(case: str, rounds: int) -> list[tuple[Pixels, list[str]]]:
    """Return the photo and the prompts of each call, after two calls for warming up."""
    series = list(CASES).index(case)
    pictures, texts = noise(series), different_prompts(series, CASES[case][0])
    same, cached = next(pictures), next(texts)
    return [
        (same if case.startswith("same photo") else next(pictures), cached if "cached" in case else next(texts))
        for _ in range(rounds + 2)
    ]


def clipseg_masks(segmenter: automask.Segmenter, image: Pixels, texts: Sequence[str]) -> Masks:
    """Return the masks that transformers computes, from a CLIPSeg bundle."""
    return [result.mask for result in segmenter.mask(image, texts, threshold=THRESHOLD, grow_mask=0)]


def beside_transformers(options: RunOptions, ours: dict[str, automask.Segmenter]) -> dict[str, dict[str, Spread]]:
    """Time CLIPSeg by case and contender."""
    theirs = clipseg_in_transformers(clipseg(options, "fp32", "int8")[0])
    rounds, found = options.pick(11, 1), {}
    for case in CASES:
        inputs = calls(case, rounds)
        contenders: dict[str, Contender] = {"transformers": lambda turn, inputs=inputs: theirs(*inputs[turn + 2])}  # type: ignore[misc]
        for kind, one in ours.items():
            contenders[f"automask {kind}"] = lambda turn, one=one, inputs=inputs: clipseg_masks(one, *inputs[turn + 2])  # type: ignore[misc]
        found[case] = time_in_turns(contenders, rounds, warm=options.pick(2, 0))
    return found


def stages(models: dict[str, automask.Segmenter], rounds: int, warm: int) -> dict[str, dict[str, Spread]]:
    """Measure where the time goes for a new photo, and for one in which the detector finds nothing."""

    def job(segmenter: automask.Segmenter, prompt: str) -> Callable[[int], dict[str, float]]:
        return lambda turn: stage_times(segmenter, unseen(photo(*SIZE)), prompt.format(turn))

    jobs = {name: job(one, PROMPTS[0] if "embedded" in name else "cup {}") for name, one in models.items()}
    jobs["embedded int8, nothing found"] = job(models["embedded int8"], "zebra")
    return measure_in_turns(jobs, rounds, warm=warm)


def measure(options: RunOptions) -> dict[str, Any]:
    """Measure the embedded model, then CLIPSeg, then the stages of both."""
    rounds, warm = options.pick(15, 1), options.warm
    embedded = Embedded(options)
    _, bundle = clipseg(options, "fp32", "int8")
    ours = {kind: automask.load(bundle, device="cpu", precision=kind, threads=THREADS) for kind in ("fp32", "int8")}
    figures: dict[str, Any] = {
        "embedded": {
            "new photo": time_in_turns(embedded.new(), rounds, warm=warm),
            "same photo, another prompt": time_in_turns(embedded.again(), rounds, warm=warm),
        },
        "left_out": embedded.left_out,
    }
    figures["clipseg"] = beside_transformers(options, ours)
    models = {"embedded int8": automask.load(device="cpu", threads=THREADS)}
    models |= {f"CLIPSeg {kind}": one for kind, one in ours.items()}
    return {**figures, "stages": stages(models, rounds, warm)}


def markdown(figures: dict[str, Any]) -> str:
    """Format the figures that `measure` returned."""
    return "\n".join((_embedded(figures), _clipseg(figures["clipseg"]), _stages(figures["stages"])))


def _embedded(figures: dict[str, Any]) -> str:
    new, again = figures["embedded"].values()
    names = list(new)
    rows = [
        [case, *(format_spread(ms[name]) if name in ms else "-" for name in names)]
        for case, ms in figures["embedded"].items()
    ]
    ours, theirs = new["automask int8"], new["MobileSAM in torch"]
    lines = [
        f"- new photo, times as fast as torch: {with_target(speedup(theirs, ours), 5, at_least=True)}",
        f"- same photo, another prompt, times as fast as a new photo: "
        f"{with_target(speedup(ours, again['automask int8']), 10, at_least=True)}",
        *(f"- {reason}" for reason in figures["left_out"]),
    ]
    head = (
        "**The embedded model, end to end** (640×480 JPEG to PNG, milliseconds; MobileSAM at 1024 pixels, eager, with "
        "the boxes given; rembg, with U²-Net, takes no words)\n\n"
    )
    return head + table(["case", *names], rows) + "\n" + "\n".join(lines) + "\n"


def _clipseg(cases: dict[str, dict[str, Spread]]) -> str:
    rows = []
    for case, ms in cases.items():
        theirs, fp32, int8 = ms.values()
        _, fp32_aim, int8_aim = CASES[case]
        ratios = [(speedup(theirs, ours), aim) for ours, aim in ((fp32, fp32_aim), (int8, int8_aim))]
        rows.append([case, *map(format_spread, ms.values()), *(with_target(*pair, at_least=True) for pair in ratios)])
    columns = ["case", "transformers", "automask fp32", "automask int8", "fp32 faster by", "int8 faster by"]
    head = "**CLIPSeg beside transformers** (640×480 pixels to masks, milliseconds)\n\n"
    return head + table(columns, rows)


def _stages(models: dict[str, dict[str, Spread]]) -> str:
    rows = [
        [name, *(digits(ms[stage]["median"]) if stage in ms else "-" for stage in (*STAGES, "total"))]
        for name, ms in models.items()
    ]
    columns = ["new photo", *(stage.replace("_", " ") for stage in STAGES), "total"]
    return "**Where the time goes** (640×480 JPEG to PNG, `grow_mask` 10, milliseconds)\n\n" + table(columns, rows)


def draw(axis: Axes, figures: dict[str, Any]) -> None:
    """Draw the time of a new photo for all contenders as bars, with the quartiles."""
    rows = {
        f"{name}{suffix}": ms
        for model, suffix in (("embedded", ""), ("clipseg", ", CLIPSeg"))
        for name, ms in next(iter(figures[model].values())).items()
    }
    names = list(rows)[::-1]
    middle = [rows[name]["median"] for name in names]
    below = [rows[name]["median"] - rows[name]["q1"] for name in names]
    above = [rows[name]["q3"] - rows[name]["median"] for name in names]
    bars = axis.barh(names, middle, xerr=[below, above], color=[colour(name) for name in names])
    axis.bar_label(bars, [f" {one:,.0f}" for one in middle])
    axis.set_title("a new 640×480 photo, ms", loc="left")
    axis.margins(x=0.15)
