"""The pictures: who takes how long and how that grows, and what became of many calls at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from questions import capacity as offered
from questions import cluster

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "automask": "#0b6e4f",
    "embedded": "#0b6e4f",
    "CLIPSeg int8": "#3fa34d",
    "CLIPSeg in transformers": "#b23a48",
    "transformers": "#b23a48",
    "MobileSAM in torch": "#d1797f",
    "rembg": "#8d99ae",
    "cv2.dilate": "#b23a48",
    "cv2 distance": "#d1797f",
    "scipy distance": "#8d99ae",
}

Answers = Mapping[str, dict[str, Any]]


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes
    ----------
    needed
        The questions whose figures go into it.
    size
        Width and height in inches.
    paint
        Draws the figures of each of those, in this order.
    """

    needed: tuple[str, ...]
    size: tuple[float, float]
    paint: Callable[..., None]

    def can_draw(self, answers: Answers) -> bool:
        """Whether all figures are there that go into it."""
        return all(question in answers for question in self.needed)

    def is_of(self, answers: Answers, file: Path) -> bool:
        """Whether the file was drawn from these figures."""
        return file.exists() and self._mark(answers) in file.read_text()

    def draw(self, answers: Answers, file: Path) -> None:
        """Draw it as an SVG, the same bytes for the same figures."""
        import matplotlib as mpl
        from matplotlib.figure import Figure

        mpl.rcParams.update(
            {"svg.hashsalt": "automask", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
        )
        sheet = Figure(figsize=self.size, layout="constrained", facecolor="white")
        self.paint(sheet, *(answers[question]["figures"] for question in self.needed))
        file.parent.mkdir(parents=True, exist_ok=True)
        sheet.savefig(file, metadata={"Date": None, "Description": self._mark(answers)})

    def _mark(self, answers: Answers) -> str:
        figures = json.dumps([answers[question]["figures"] for question in self.needed])
        return f"of figures {hashlib.sha256(figures.encode()).hexdigest()}"


def _overview(sheet: Figure, pipeline: dict[str, Any], postprocess: dict[str, Any], scaling: dict[str, Any]) -> None:
    axes = sheet.subplots(2, 3).ravel()
    _bars(axes[0], pipeline)
    _growing(axes[1], postprocess)
    for axis, (what, title) in zip(axes[2:], _TITLES.items(), strict=True):
        _lines(axis, scaling[what], f"a photo, by {title}, ms")
    sheet.legend(*axes[2].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)


_TITLES = {
    "megapixels": "its megapixels",
    "prompts": "prompts in one call",
    "objects": "objects found",
    "threads": "threads",
}


def _colour(name: str) -> str:
    fitting = [colour for start, colour in COLOURS.items() if name.startswith(start)]
    return fitting[0] if fitting else "#444444"


def _bars(axis: Axes, pipeline: dict[str, Any]) -> None:
    """Draw a new photo of 640×480, end to end."""
    rows = {
        f"{name}{of}": ms
        for model, of in (("embedded", ""), ("clipseg", ", CLIPSeg"))
        for name, ms in next(iter(pipeline[model].values())).items()
    }
    names = list(rows)[::-1]
    middle = [rows[name]["median"] for name in names]
    below = [rows[name]["median"] - rows[name]["q1"] for name in names]
    above = [rows[name]["q3"] - rows[name]["median"] for name in names]
    drawn = axis.barh(names, middle, xerr=[below, above], color=[_colour(name) for name in names])
    axis.bar_label(drawn, [f" {one:,.0f}" for one in middle])
    axis.set_title("a new 640×480 photo, ms", loc="left")
    axis.margins(x=0.15)


def _growing(axis: Axes, postprocess: dict[str, Any]) -> None:
    """Draw growing by radius, at the largest size but one that was measured."""
    sizes = list(dict.fromkeys(case["megapixels"] for case in postprocess["cases"]))
    size = sizes[max(0, len(sizes) - 2)]
    cases = [case for case in postprocess["cases"] if case["megapixels"] == size and case["mask"] == "sparse"]
    for name in cases[0]["ms"]:
        radii = [case["radius"] for case in cases]
        middle = [case["ms"][name]["median"] for case in cases]
        axis.plot(radii, middle, "o-", color=_colour(name))
        axis.annotate(
            name, (radii[-1], middle[-1]), (-4, 6), textcoords="offset points", ha="right", color=_colour(name)
        )
    _logarithmic(axis)
    axis.set_title(f"growing a mask of {size} megapixels, ms", loc="left")
    axis.set_xlabel("radius, pixels")
    axis.margins(y=0.12)


def _logarithmic(axis: Axes) -> None:
    """Let milliseconds grow by factors, and write them out."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter("{x:,g}")


def _lines(axis: Axes, growth: dict[str, Any], title: str) -> None:
    """Draw milliseconds by number, both logarithmic, with the quartiles as a band."""
    names = list(dict.fromkeys(name for ms in growth.values() for name in ms))
    for name in names:
        points = {float(number): ms[name] for number, ms in growth.items() if name in ms}
        quantiles = {key: [one[key] for one in points.values()] for key in ("q1", "median", "q3")}
        axis.plot(list(points), quantiles["median"], "o-", label=name, color=_colour(name))
        axis.fill_between(list(points), quantiles["q1"], quantiles["q3"], color=_colour(name), alpha=0.2)
    axis.set_xscale("log")
    _logarithmic(axis)
    ticks = [float(number) for number in growth]
    axis.set_xticks(ticks, list(growth))
    axis.set_xticks([], minor=True)
    axis.set_title(title, loc="left")


PICTURES: Mapping[str, Picture] = {
    "docs/figures.svg": Picture(("pipeline", "postprocess", "scaling"), (11, 6.4), _overview),
    "docs/capacity.svg": Picture(("capacity",), (11, 3.6), offered.draw),
    "docs/cluster.svg": Picture(("cluster",), (11, 3.6), cluster.draw),
}
