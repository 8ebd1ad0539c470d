"""The questions of the benchmarks, in the order in which they run: one module or package each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.options import RunOptions

from . import (
    capacity,
    cluster,
    concept,
    durability,
    edges,
    gpu,
    open_vocabulary,
    pipeline,
    playground,
    postprocess,
    quality,
    scaling,
    service,
    startup,
    store_latency,
    store_throughput,
)


@dataclass(frozen=True)
class Question:
    """How to measure, how to format the figures, and the page that shows them."""

    measure: Callable[[RunOptions], dict[str, Any]]
    markdown: Callable[[dict[str, Any]], str]
    page: str = "docs/benchmarks.md"


QUESTIONS: Mapping[str, Question] = {
    "quality": Question(quality.measure, quality.markdown),
    "edges": Question(edges.measure, edges.markdown, "docs/matting.md"),
    "pipeline": Question(pipeline.measure, pipeline.markdown),
    "open_vocabulary": Question(open_vocabulary.measure, open_vocabulary.markdown, "docs/models.md"),
    "concept": Question(concept.measure, concept.markdown, "docs/sam3.md"),
    "startup": Question(startup.measure, startup.markdown),
    "scaling": Question(scaling.measure, scaling.markdown),
    "postprocess": Question(postprocess.measure, postprocess.markdown),
    "gpu": Question(gpu.measure, gpu.markdown),
    "service": Question(service.measure, service.markdown),
    "playground": Question(playground.measure, playground.markdown),
    "store_latency": Question(store_latency.measure, store_latency.markdown),
    "durability": Question(durability.measure, durability.markdown),
    "cluster": Question(cluster.measure, cluster.markdown, "docs/scaling.md"),
    "store_throughput": Question(store_throughput.measure, store_throughput.markdown, "docs/scaling.md"),
    "capacity": Question(capacity.measure, capacity.markdown, "docs/scaling.md"),
}
