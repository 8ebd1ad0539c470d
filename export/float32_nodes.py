"""The nodes of a graph that need float32 in a float16 graph, found by bisection."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto

from automask.devices import import_onnxruntime
from automask.session import Session

from .float16 import convert, convertible, emulate
from .parity import Array, Case, run_graph
from .switched_graph import SwitchedGraph

__all__ = ["Float32Nodes", "largest_error"]

_SHARES = (1.0, 0.25, 0.06)
"""Largest error of a part that is in float16 alone, as shares of the limit: the errors of several parts add up."""

_MOST_RUNS = 150  # of one search; parts that are not halved by then stay float32 as a whole
_MOST_DROPPED = 40  # nodes that are tried in float16 one by one


class Float32Nodes:
    """Searches one graph.

    Parameters
    ----------
    model
        The float32 graph, as `load_named` returns it.
    cases
        Inputs, and what the checkpoint makes of them.
    """

    def __init__(self, model: onnx.ModelProto, cases: Sequence[Case]) -> None:
        self._model, self._cases = model, cases
        self.names = [node.name for node in convertible(model)]
        self._readers = _readers(model.graph.node)
        self._harms: dict[tuple[int, int], float] = {}
        self._sorts = _sorts(model)

    def error(self, float32_nodes: Collection[str]) -> float:
        """Return the relative error of the float16 graph in which these nodes are float32; infinite for NaN."""
        session = _open(emulate(convert(self._model, float32_nodes)))
        names = [output.name for output in session.get_outputs()]
        return max(
            (
                self._compare(dict(zip(names, session.run(names, dict(inputs)), strict=True)), expected)
                for inputs, expected in self._cases
            ),
            default=0.0,
        )

    def _compare(self, found: Mapping[str, Array], expected: Mapping[str, Array]) -> float:
        return _largest(found, expected, sorts=self._sorts)

    def search(self, limit: float) -> tuple[list[str], float]:
        """Return the nodes without which the error is within a limit, and the error; all of them if it never is.

        The graph is halved: a part that does little harm, being in float16 alone, is in float16, and another one is
        halved again, down to the nodes that do the harm. They stay float32, and so do the nodes that read their
        results: the cast between them would lose what they keep.
        """
        most = len(self._harms) + _MOST_RUNS
        for share in _SHARES:
            kept = self._needed(limit * share, most)
            kept = kept.union(*(self._readers[name] for name in kept)) & self._graph.nodes
            if len(kept) <= _MOST_DROPPED:
                kept = self._without_unneeded(kept, limit)
            error = self.error(kept)
            if error <= limit:
                return self._in_order(kept), error
        return list(self.names), self.error(self.names)

    def _needed(self, limit: float, most_runs: int) -> set[str]:
        """Return the nodes that, in float16, do harm over a limit; whole parts once there were so many runs."""
        parts, needed = [(0, len(self.names))], set[str]()
        while parts:
            harmful = [part for part in parts if self._harm(part) > limit]
            whole = [part for part in harmful if part[1] - part[0] == 1 or len(self._harms) > most_runs]
            needed.update(name for start, end in whole for name in self.names[start:end])
            parts = [half for part in harmful if part not in whole for half in _halves(*part)]
        return needed

    def _harm(self, part: tuple[int, int]) -> float:
        """Return the error of the graph in which only these nodes, by their numbers, are float16."""
        if part not in self._harms:
            self._harms[part] = self._run(self.names[slice(*part)])
        return self._harms[part]

    def _run(self, float16_nodes: Collection[str]) -> float:
        """Return the error of the case that shows the most, with these nodes in float16."""
        return self._run_case(float16_nodes, self._case)

    def _run_case(self, float16_nodes: Collection[str], case: Case) -> float:
        inputs, expected = case
        found = self._graph.run(float16_nodes, inputs)
        return self._compare(dict(zip(self._graph.outputs, found, strict=True)), expected)

    @cached_property
    def _graph(self) -> SwitchedGraph:
        return SwitchedGraph(self._model, self.names)

    @cached_property
    def _case(self) -> Case:
        """The case with the largest error in float16."""
        return max(self._cases, key=lambda case: self._run_case(self.names, case))

    def _without_unneeded(self, kept: set[str], limit: float) -> set[str]:
        """Return the nodes without those that can be float16 within the limit."""
        needed = set(kept)
        for name in self._in_order(kept):
            if self._run(set(self.names) - needed | {name}) <= limit:
                needed.remove(name)
        return needed

    def _in_order(self, kept: Collection[str]) -> list[str]:
        return [name for name in self.names if name in kept]


def largest_error(file: Path, graph: Session, cases: Sequence[Case]) -> float:
    """Return the largest relative error of an output of an open graph; infinite for NaN.

    Parameters
    ----------
    file
        The file of the graph.
    cases
        Inputs, and what the checkpoint makes of them.
    """
    sorts = _sorts(onnx.load(file, load_external_data=False))
    return max(_largest(run_graph(graph, inputs), expected, sorts=sorts) for inputs, expected in cases)


def _sorts(model: onnx.ModelProto) -> bool:
    """Return whether a graph sorts: equal scores change places among the best ones, so that outputs differ in order."""
    return any(node.op_type == "TopK" for node in model.graph.node)


def _largest(found: Mapping[str, Array], expected: Mapping[str, Array], *, sorts: bool) -> float:
    errors = [_relative_error(found[name], one, sorts=sorts) for name, one in expected.items() if name in found]
    return max(errors, default=0.0)


def _halves(start: int, end: int) -> tuple[tuple[int, int], tuple[int, int]]:
    middle = (start + end) // 2
    return (start, middle), (middle, end)


def _readers(nodes: Sequence[NodeProto]) -> Mapping[str, set[str]]:
    """Return the names of the nodes that read a result of a node, by its name."""
    by_input: dict[str, set[str]] = {}
    for node in nodes:
        for name in node.input:
            by_input.setdefault(name, set()).add(node.name)
    return {node.name: {one for output in node.output for one in by_input.get(output, ())} for node in nodes}


def _open(model: onnx.ModelProto) -> Any:  # noqa: ANN401 (onnxruntime has no types)
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # opened often, run once
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _relative_error(found: Array, expected: Array, *, sorts: bool) -> float:
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    one, other = found.astype(np.float64), expected.astype(np.float64)
    if sorts:
        one, other = np.sort(one, axis=None), np.sort(other, axis=None)
    return float(np.linalg.norm(one - other) / max(np.linalg.norm(other), np.finfo(np.float32).tiny))
