"""The nodes of a graph that need float32 in a float16 graph, found by bisection."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto

from automask.devices import import_onnxruntime

from .float16 import convert, convertible, emulate
from .parity import Array, Case

__all__ = ["Float32Nodes"]

_MOST_ROUNDS = 40  # nodes found one by one, after which the graph is as it is

_Error = Callable[[Collection[str]], float]
"""Called with the nodes that stay float32; returns the relative error of the graph, infinite for NaN."""


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
        # Equal scores change places among the best ones, so that outputs differ in their order.
        self._sorts = any(node.op_type == "TopK" for node in model.graph.node)

    def error(self, float32_nodes: Collection[str]) -> float:
        """Return the relative error of the float16 graph in which these nodes are float32; infinite for NaN."""
        session = _open(emulate(convert(self._model, float32_nodes)))
        names = [output.name for output in session.get_outputs()]
        errors = [
            _relative_error(found, expected[name], sorts=self._sorts)
            for inputs, expected in self._cases
            for name, found in zip(names, session.run(names, dict(inputs)), strict=True)
            if name in expected
        ]
        return max(errors, default=0.0)

    def search(self, limit: float) -> tuple[list[str], float]:
        """Return the nodes without which the error is within a limit, and the error.

        In each round, the graph is halved down to the node that alone, in float16, does the most harm. It stays
        float32, and so do the nodes that read its result: the cast between them would lose what it keeps. The second
        node of one name in the repeated layers stands for those of all layers.
        """
        kept: set[str] = set()
        seen: set[str] = set()
        for _ in range(_MOST_ROUNDS):
            error = self.error(kept)
            if error <= limit:
                break
            worst = self._worst([name for name in self.names if name not in kept])
            pattern = _pattern(worst)
            alike = [name for name in self.names if _pattern(name) == pattern] if pattern in seen else [worst]
            seen.add(pattern)
            kept.update(alike, *(self._readers.get(name, ()) for name in alike))
        if error <= limit and len(kept) <= _MOST_ROUNDS:
            error = self._drop_unneeded(kept, error, limit)
        return [name for name in self.names if name in kept], error

    def _drop_unneeded(self, kept: set[str], error: float, limit: float) -> float:
        """Remove the nodes without which the error stays within the limit; return the error."""
        for name in [name for name in self.names if name in kept]:
            without = self.error(kept - {name})
            if without <= limit:
                kept.remove(name)
                error = without
        return error

    def _worst(self, part: Sequence[str]) -> str:
        while len(part) > 1:
            halves = part[: len(part) // 2], part[len(part) // 2 :]
            errors = [self.error(set(self.names).difference(half)) for half in halves]
            part = halves[int(errors[1] > errors[0])]
        return part[0]


def _readers(nodes: Sequence[NodeProto]) -> Mapping[str, set[str]]:
    """Return the names of the nodes that read a result of a node, by its name."""
    by_input: dict[str, set[str]] = {}
    for node in nodes:
        for name in node.input:
            by_input.setdefault(name, set()).add(node.name)
    return {node.name: {one for output in node.output for one in by_input.get(output, ())} for node in nodes}


def _pattern(name: str) -> str:
    return re.sub(r"\d+", "#", name)


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
