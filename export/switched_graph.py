"""A float32 graph in which every node can be switched to float16: one session for any choice of nodes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.transformers.float16 import convert_np_to_float16

from automask.devices import import_onnxruntime

from .parity import Array

__all__ = ["SwitchedGraph"]

_SWITCHES = "@switches"
_LARGE = 1 << 12  # elements of a weight that is rounded only if float16 cannot hold it


class SwitchedGraph:
    """Runs a graph with some nodes in float16 and the others in float32, without opening it again.

    Each value has a switch, which rounds it: if the node that makes it is in float16, or one that reads it. A float16
    graph hands the exact value to a float32 reader where another reader is in float16; this one does not.

    Parameters
    ----------
    model
        A float32 graph in which every node has a name; it is not changed.
    names
        The nodes that can be in float16.

    Attributes
    ----------
    nodes
        Those of them that make or read a float32 value.
    outputs
        Names of the outputs of the graph.
    """

    def __init__(self, model: onnx.ModelProto, names: Collection[str]) -> None:
        ort = import_onnxruntime()
        self._users = _users(model, set(names))
        self.nodes = frozenset[str]().union(*self._users.values())
        self._values = list(self._users)
        switched = _switched(model, self._values)
        self.outputs = [output.name for output in model.graph.output]
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # folding would be slower
        self._session = ort.InferenceSession(switched.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(self, float16_nodes: Collection[str], inputs: Mapping[str, Array]) -> list[Array]:
        """Run the graph with these nodes in float16; return its outputs in the order of `outputs`."""
        chosen = set(float16_nodes)
        switches = np.array([not chosen.isdisjoint(self._users[value]) for value in self._values])
        found: list[Array] = self._session.run(self.outputs, {**inputs, _SWITCHES: switches})
        return found


def _users(model: onnx.ModelProto, names: Collection[str]) -> dict[str, set[str]]:
    """Return the nodes, out of those with these names, that make or read each float32 value."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    float32 = {
        value.name
        for value in (*graph.value_info, *graph.input, *graph.output)
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    float32 |= {tensor.name for tensor in model.graph.initializer if _is_switched(tensor)}
    users: dict[str, set[str]] = {}
    for node in model.graph.node:
        for value in {*node.input, *node.output} & float32 if node.name in names else ():
            users.setdefault(value, set()).add(node.name)
    return users


def _is_switched(tensor: TensorProto) -> bool:
    """Return whether a weight needs a switch: a large one does only if it holds what float16 cannot."""
    if tensor.data_type != TensorProto.FLOAT:
        return False
    exact = numpy_helper.to_array(tensor)
    return bool(exact.size < _LARGE or np.abs(exact).max() > np.finfo(np.float16).max)


def _switched(model: onnx.ModelProto, values: Sequence[str]) -> onnx.ModelProto:
    """Return the graph with a switch for each value, in the order of the values in the input `_SWITCHES`."""
    made = {name for node in model.graph.node for name in node.output}
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    switched = onnx.ModelProto()
    switched.CopyFrom(model)
    graph = switched.graph
    graph.input.append(helper.make_tensor_value_info(_SWITCHES, TensorProto.BOOL, [len(values)]))
    nodes: list[NodeProto] = []
    for number, value in enumerate(values):
        graph.initializer.append(numpy_helper.from_array(np.array(number), _number(value)))
        if value in weights:
            graph.initializer.append(numpy_helper.from_array(_rounded(weights[value]), f"{value}@rounded"))
        if value not in made:  # an input or a weight: its readers take another name, further down
            nodes += _switch(value, value, f"{value}@read", is_weight=value in weights)
    chosen = set(values)
    for node in graph.node:
        for at, name in enumerate(node.input):
            node.input[at] = f"{name}@read" if name in chosen and name not in made else name
        nodes.append(node)
        for at, name in enumerate(node.output):
            if name in chosen:
                node.output[at] = f"{name}@exact"
                nodes += _switch(name, f"{name}@exact", name, is_weight=False)
    in_order = [NodeProto.FromString(node.SerializeToString()) for node in nodes]  # deleting empties those of the graph
    del graph.node[:], graph.value_info[:]
    graph.node.extend(in_order)
    return switched


def _switch(value: str, exact: str, target: str, *, is_weight: bool) -> Iterator[NodeProto]:
    """Yield the nodes that write the exact or the rounded value to a target."""
    switch, half, rounded = f"{value}@switch", f"{value}@half", f"{value}@rounded"
    yield helper.make_node("Gather", [_SWITCHES, _number(value)], [switch])
    if not is_weight:
        yield helper.make_node("Cast", [exact], [half], to=TensorProto.FLOAT16)
        yield helper.make_node("Cast", [half], [rounded], to=TensorProto.FLOAT)
    yield helper.make_node("Where", [switch, rounded, exact], [target])


def _number(value: str) -> str:
    return f"{value}@number"


def _rounded(tensor: TensorProto) -> Array:
    """Return a weight as the converter rounds it: what is too large becomes the largest float16."""
    exact = numpy_helper.to_array(tensor)
    half: Array = convert_np_to_float16(np.atleast_1d(exact))  # it cannot read scalars
    return half.astype(np.float32).reshape(exact.shape)
