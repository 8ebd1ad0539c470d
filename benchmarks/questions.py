"""The questions, in the order in which they are asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import durability
import gpu
import pipeline
import playground
import postprocess
import quality
import scaling
import service
import startup
from workplace import Workplace


@dataclass(frozen=True)
class Question:
    """How to measure, and how to show what was measured."""

    measure: Callable[[Workplace], dict[str, Any]]
    markdown: Callable[[dict[str, Any]], str]


def _kill(workplace: Workplace) -> dict[str, Any]:
    folder = workplace.folder / "durability"
    folder.mkdir()
    report = durability.run(workplace.pick(100, 1), 0, folder)
    if report.lost or report.doubled or report.wrong:
        raise SystemExit(f"the store broke its promise: {report}")
    return asdict(report)


def _killed(figures: dict[str, Any]) -> str:
    return (
        "**`kill -9`** (clients submit and fetch without pause, the server is killed at random moments and started "
        "again): {rounds} rounds, {acknowledged:,} requests acknowledged, {lost} lost, {doubled} done twice, {wrong} "
        "other results than the library's. {tried_again:,} were tried again, {completed:,} completed; {given_up} were "
        "killed at work three times, and are FAILED and say so.\n"
    ).format(**figures)


QUESTIONS: Mapping[str, Question] = {
    "quality": Question(quality.measure, quality.markdown),
    "pipeline": Question(pipeline.measure, pipeline.markdown),
    "startup": Question(startup.measure, startup.markdown),
    "scaling": Question(scaling.measure, scaling.markdown),
    "postprocess": Question(postprocess.measure, postprocess.markdown),
    "gpu": Question(gpu.measure, gpu.markdown),
    "service": Question(service.measure, service.markdown),
    "playground": Question(playground.measure, playground.markdown),
    "durability": Question(_kill, _killed),
}
