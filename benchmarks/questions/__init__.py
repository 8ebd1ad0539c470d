"""The questions, in the order in which they are asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.workplace import Workplace
from questions import capacity as offered
from questions import (
    cluster,
    durability,
    gpu,
    keeping,
    pipeline,
    playground,
    postprocess,
    quality,
    scaling,
    service,
    startup,
    writes,
)


@dataclass(frozen=True)
class Question:
    """How to measure, how to show what was measured, and on which page."""

    measure: Callable[[Workplace], dict[str, Any]]
    markdown: Callable[[dict[str, Any]], str]
    page: str = "README.md"


QUESTIONS: Mapping[str, Question] = {
    "quality": Question(quality.measure, quality.markdown),
    "pipeline": Question(pipeline.measure, pipeline.markdown),
    "startup": Question(startup.measure, startup.markdown),
    "scaling": Question(scaling.measure, scaling.markdown),
    "postprocess": Question(postprocess.measure, postprocess.markdown),
    "gpu": Question(gpu.measure, gpu.markdown),
    "service": Question(service.measure, service.markdown),
    "playground": Question(playground.measure, playground.markdown),
    "keeping": Question(keeping.measure, keeping.markdown),
    "durability": Question(durability.measure, durability.markdown),
    "cluster": Question(cluster.measure, cluster.markdown, "docs/scaling.md"),
    "writes": Question(writes.measure, writes.markdown, "docs/scaling.md"),
    "capacity": Question(offered.measure, offered.markdown, "docs/scaling.md"),
}
