"""Where the time of a call goes: milliseconds by graph and by stage."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import automask
from automask.session import Session

STAGES = ("decode", "preprocess", "detector", "text_encoder", "image_encoder", "mask_decoder", "postprocess", "encode")


@contextmanager
def graph_times(segmenter: automask.Segmenter) -> Iterator[dict[str, float]]:
    """Collect the milliseconds that each graph of a segmenter runs inside the block, by the graph's role."""
    graphs = json.loads((segmenter.bundle.folder / "automask.json").read_text())["graphs"]
    roles = {next(iter(graph["outputs"])): role for role, graph in graphs.items()}
    spent: dict[str, float] = defaultdict(float)
    call = Session._call  # noqa: SLF001 (what both ways to run a graph go through)

    def timed(self: Session, *arguments: Any) -> Any:  # noqa: ANN401 (as the original)
        start = perf_counter()
        try:
            return call(self, *arguments)
        finally:
            spent[roles[self.outputs[0]]] += (perf_counter() - start) * 1e3

    Session._call = timed  # type: ignore[method-assign,assignment]  # noqa: SLF001
    try:
        yield spent
    finally:
        Session._call = call  # type: ignore[method-assign]  # noqa: SLF001


def stage_times(segmenter: automask.Segmenter, jpeg: bytes, prompt: str, **parameters: Any) -> dict[str, float]:  # noqa: ANN401
    """Mask once and return milliseconds by stage, with their `total`.

    What a family does around its graphs counts as preprocessing.
    """
    with graph_times(segmenter) as graphs:
        result = segmenter.mask(jpeg, prompt, **parameters)
        start = perf_counter()
        assert result.output  # noqa: S101 (encoded when it is first used)
        encode = (perf_counter() - start) * 1e3
    took = result.timings
    inside = took["total"] - took["decode"] - took["postprocess"]
    ends = {"decode": took["decode"], "postprocess": took["postprocess"], "encode": encode}
    return {**ends, **graphs, "preprocess": inside - sum(graphs.values()), "total": took["total"] + encode}
