"""A photo end to end: the embedded model and CLIPSeg beside the same models in torch, and rembg.

All get the same photos and the same threads. The embedded model goes from JPEG to PNG, beside MobileSAM at 1024 pixels
in torch, whose detector is left out, and beside rembg, which takes no words and masks what stands in front. CLIPSeg
goes from pixels to masks of their size, beside transformers. torch and transformers run eager; the weights of CLIPSeg
and of MobileSAM in torch are random, for time does not depend on them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from time import perf_counter
from typing import Any

import automask
from automask.session import Session
from harness.machine import THREADS
from harness.models import clipseg
from harness.peers import THRESHOLD, Masks, MobileSamInTorch, Pixels, clipseg_in_transformers, rembg
from harness.photos import PROMPTS, noise, photo, unseen
from harness.turns import Contender, Spread, by_turns, digits, figures_by_turns, show, table, target, times_as_fast
from harness.workplace import NotHereError, Workplace

SIZE = (640, 480)
STAGES = ("decode", "preprocess", "detector", "text_encoder", "image_encoder", "mask_decoder", "postprocess", "encode")
CASES = {
    "new photo, new prompt": (1, 1.2, 2.0),
    "new photo, cached prompt": (1, 1.3, 2.2),
    "same photo, new prompt": (1, 8.0, 8.0),
    "new photo, 8 prompts": (8, 6.0, 6.0),
}
"""Prompts for a call, and how many times as fast as transformers fp32 and int8 should be."""


class Embedded:
    """The ways to mask the photo end to end, from JPEG to PNG."""

    def __init__(self, workplace: Workplace) -> None:
        self.left_out: list[str] = []
        self._jpeg = photo(*SIZE)
        self._ours = {kind: automask.load(device="cpu", precision=kind, threads=THREADS) for kind in ("int8", "fp32")}
        self._torch = MobileSamInTorch()
        self._boxes = [one.box for one in self._ours["int8"].mask(self._jpeg, PROMPTS[0]).instances]
        self._seen = self._torch.read(self._jpeg)
        self._embedding = self._torch.encode(self._seen)
        try:
            self._rembg = None if workplace.quick else rembg(workplace.folder / "u2net")
        except NotHereError as reason:
            self._rembg = None
            self.left_out.append(str(reason))

    def new(self) -> dict[str, Contender]:
        """Mask a photo that none has seen."""
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
        """Ask for something else in a photo that was seen before; rembg has nothing to ask for."""
        ours: dict[str, Contender] = {
            f"automask {kind}": lambda turn, one=one: one.mask(self._jpeg, PROMPTS[turn % 2]).output  # type: ignore[misc]
            for kind, one in self._ours.items()
        }
        return ours | {"MobileSAM in torch": lambda _: self._torch.draw(self._embedding, self._seen, self._boxes)}


def prompts(series: int, number: int) -> Iterator[list[str]]:
    """Give lists of prompts of one length, all of them different, also from those of another series."""
    return ([f"the blue cup {start + i:06d}" for i in range(number)] for start in count(10_000 * series, number))


def calls(case: str, rounds: int) -> list[tuple[Pixels, list[str]]]:
    """Give the photo and the prompts of each call, two of them to warm up."""
    series = list(CASES).index(case)
    pictures, texts = noise(series), prompts(series, CASES[case][0])
    same, cached = next(pictures), next(texts)
    return [
        (same if case.startswith("same photo") else next(pictures), cached if "cached" in case else next(texts))
        for _ in range(rounds + 2)
    ]


def masking(segmenter: automask.Segmenter, image: Pixels, texts: Sequence[str]) -> Masks:
    """Mask with a CLIPSeg bundle what transformers masks."""
    return [result.mask for result in segmenter.mask(image, texts, threshold=THRESHOLD, grow_mask=0)]


def beside_transformers(workplace: Workplace, ours: dict[str, automask.Segmenter]) -> dict[str, dict[str, Spread]]:
    """Time CLIPSeg, by case and contender."""
    theirs = clipseg_in_transformers(clipseg(workplace, "fp32", "int8")[0])
    rounds, found = workplace.pick(11, 1), {}
    for case in CASES:
        todo = calls(case, rounds)
        contenders: dict[str, Contender] = {"transformers": lambda turn, todo=todo: theirs(*todo[turn + 2])}  # type: ignore[misc]
        for kind, one in ours.items():
            contenders[f"automask {kind}"] = lambda turn, one=one, todo=todo: masking(one, *todo[turn + 2])  # type: ignore[misc]
        found[case] = by_turns(contenders, rounds, warm=2)
    return found


@contextmanager
def graph_times(segmenter: automask.Segmenter) -> Iterator[dict[str, float]]:
    """Count milliseconds by the role of the graph that runs."""
    graphs = json.loads((segmenter.bundle.folder / "automask.json").read_text())["graphs"]
    roles = {next(iter(graph["outputs"])): role for role, graph in graphs.items()}
    spent: dict[str, float] = defaultdict(float)
    run = Session.run

    def timed(self: Session, **inputs: Any) -> Any:  # noqa: ANN401 (as its own)
        start = perf_counter()
        try:
            return run(self, **inputs)
        finally:
            spent[roles[self.outputs[0]]] += (perf_counter() - start) * 1e3

    Session.run = timed  # type: ignore[method-assign]
    try:
        yield spent
    finally:
        Session.run = run  # type: ignore[method-assign]


def stages_of_one(segmenter: automask.Segmenter, jpeg: bytes, prompt: str, **options: Any) -> dict[str, float]:  # noqa: ANN401
    """Milliseconds of one call by stage; what a family does around its graphs counts as preprocessing."""
    with graph_times(segmenter) as graphs:
        result = segmenter.mask(jpeg, prompt, **options)
        start = perf_counter()
        assert result.output  # noqa: S101 (made when it is asked for)
        encode = (perf_counter() - start) * 1e3
    took = result.timings
    inside = took["total"] - took["decode"] - took["postprocess"]
    ends = {"decode": took["decode"], "postprocess": took["postprocess"], "encode": encode}
    return {**ends, **graphs, "preprocess": inside - sum(graphs.values()), "total": took["total"] + encode}


def stages(models: dict[str, automask.Segmenter], rounds: int) -> dict[str, dict[str, Spread]]:
    """Where the time goes for a new photo, and for one in which the detector finds nothing."""

    def job(segmenter: automask.Segmenter, prompt: str) -> Callable[[int], dict[str, float]]:
        return lambda turn: stages_of_one(segmenter, unseen(photo(*SIZE)), prompt.format(turn))

    jobs = {name: job(one, PROMPTS[0] if "embedded" in name else "cup {}") for name, one in models.items()}
    jobs["embedded int8, nothing found"] = job(models["embedded int8"], "zebra")
    return figures_by_turns(jobs, rounds)


def measure(workplace: Workplace) -> dict[str, Any]:
    """Everything, the two models one after the other."""
    rounds = workplace.pick(15, 1)
    embedded = Embedded(workplace)
    _, bundle = clipseg(workplace, "fp32", "int8")
    ours = {kind: automask.load(bundle, device="cpu", precision=kind, threads=THREADS) for kind in ("fp32", "int8")}
    figures: dict[str, Any] = {
        "embedded": {
            "new photo": by_turns(embedded.new(), rounds),
            "same photo, another prompt": by_turns(embedded.again(), rounds),
        },
        "left_out": embedded.left_out,
    }
    figures["clipseg"] = beside_transformers(workplace, ours)
    models = {"embedded int8": automask.load(device="cpu", threads=THREADS)}
    models |= {f"CLIPSeg {kind}": one for kind, one in ours.items()}
    return {**figures, "stages": stages(models, rounds)}


def markdown(figures: dict[str, Any]) -> str:
    """Lay out what `measure` gave."""
    return "\n".join((_embedded(figures), _clipseg(figures["clipseg"]), _stages(figures["stages"])))


def _embedded(figures: dict[str, Any]) -> str:
    new, again = figures["embedded"].values()
    names = list(new)
    rows = [
        [case, *(show(ms[name]) if name in ms else "-" for name in names)] for case, ms in figures["embedded"].items()
    ]
    ours, theirs = new["automask int8"], new["MobileSAM in torch"]
    lines = [
        f"- times as fast as torch, new photo: {target(times_as_fast(theirs, ours), 5, at_least=True)}",
        f"- another prompt, times as fast as the first: "
        f"{target(times_as_fast(ours, again['automask int8']), 10, at_least=True)}",
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
        ratios = [(times_as_fast(theirs, ours), aim) for ours, aim in ((fp32, fp32_aim), (int8, int8_aim))]
        rows.append([case, *map(show, ms.values()), *(target(*pair, at_least=True) for pair in ratios)])
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
