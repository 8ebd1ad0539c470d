"""Drawing the figures as SVG: the same bytes for the same figures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GREEN, RED, GREY = "#0b6e4f", "#b23a48", "#8d99ae"
_PINK = "#d1797f"
_COLOURS = {
    "automask": GREEN,
    "embedded": GREEN,
    "CLIPSeg int8": "#3fa34d",
    "CLIPSeg in transformers": RED,
    "transformers": RED,
    "MobileSAM in torch": _PINK,
    "rembg": GREY,
    "cv2.dilate": RED,
    "cv2 distance": _PINK,
    "scipy distance": GREY,
}

Answers = Mapping[str, dict[str, Any]]
"""What `run.py` wrote, by question."""


@dataclass(frozen=True)
class Picture:
    """A picture of figures.

    Attributes
    ----------
    questions
        The questions whose figures it shows.
    size
        Width and height in inches.
    draw_on
        Draws on a matplotlib figure; it gets the figures of each of those questions, in this order.
    """

    questions: tuple[str, ...]
    size: tuple[float, float]
    draw_on: Callable[..., None]

    def can_draw(self, answers: Answers) -> bool:
        """Whether all questions that it needs have figures."""
        return all(question in answers for question in self.questions)

    def is_current(self, answers: Answers, file: Path) -> bool:
        """Whether the file was drawn from these figures."""
        return file.exists() and self._mark(answers) in file.read_text()

    def draw(self, answers: Answers, file: Path) -> None:
        """Write the SVG."""
        import matplotlib as mpl
        from matplotlib.figure import Figure

        mpl.rcParams.update(
            {"svg.hashsalt": "automask", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
        )
        sheet = Figure(figsize=self.size, layout="constrained", facecolor="white")
        self.draw_on(sheet, *(answers[question]["figures"] for question in self.questions))
        file.parent.mkdir(parents=True, exist_ok=True)
        sheet.savefig(file, metadata={"Date": None, "Description": self._mark(answers)})

    def _mark(self, answers: Answers) -> str:
        figures = json.dumps([answers[question]["figures"] for question in self.questions])
        return f"of figures {hashlib.sha256(figures.encode()).hexdigest()}"


def colour(contender: str) -> str:
    """Return the colour of a contender, the same one in every picture."""
    matching = [found for start, found in _COLOURS.items() if contender.startswith(start)]
    return matching[0] if matching else "#444444"


def use_log_scale(axis: Axes) -> None:
    """Make the y axis logarithmic, with its numbers written out."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter("{x:,g}")
