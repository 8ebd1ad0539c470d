"""How the graphs of a model use a device: threads, GPU memory, CUDA graphs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["DEFAULT", "Tuning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Settings of a session that change how fast a graph runs and what it takes.

    Attributes
    ----------
    threads
        CPU threads for one call, at least 1. None: ONNX Runtime's default, one per physical core.
    gpu_memory_bytes
        Most bytes of GPU memory that ONNX Runtime takes for one graph, weights included. None: no limit.
    arena
        Whether the CPU keeps the memory of a run for the next one, which is faster.
    cuda_graphs
        Whether a GPU records the graph in one run, and replays it as a whole; its inputs always have the same shapes.
    exact
        Whether matrix products are in float32: a GPU takes TF32 by default, with 10 bits.
    """

    threads: int | None = None
    gpu_memory_bytes: int | None = None
    exact: bool = False
    arena: bool = True
    cuda_graphs: bool = False


DEFAULT: Final = Tuning()
