"""Graphs that compute in float16: their conversion, and their emulation on the CPU.

ONNX Runtime has no float16 operators for most CPUs: it computes in float32, and leaves out the rounding between two
operators. So a float16 graph on the CPU hides what a GPU would show, an overflow for example. The emulated graph rounds
the result of every operator, as a GPU does.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import AttributeProto, NodeProto, TensorProto, helper, numpy_helper

from automask.cpu_graphs import FRUGAL
from automask.devices import CPU
from automask.session import Session

from .graphs import in_order

__all__ = ["convert", "convertible", "emulate", "load_named", "open_on_cpu"]


def load_named(path: Path) -> onnx.ModelProto:
    """Load a graph in which every node has a name: nodes without one are named after their first output."""
    model = onnx.load(path)
    for node in model.graph.node:
        node.name = node.name or f"{node.op_type}_{node.output[0]}"
    return model


def convertible(model: onnx.ModelProto) -> list[NodeProto]:
    """Return the nodes that `convert` can move to float16, in the order of the graph."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST

    return [node for node in model.graph.node if node.op_type not in DEFAULT_OP_BLOCK_LIST]


def convert(model: onnx.ModelProto, float32_nodes: Collection[str] = ()) -> onnx.ModelProto:
    """Return a graph that computes in float16; inputs and outputs stay float32.

    Parameters
    ----------
    model
        A float32 graph, as `load_named` returns it; it is not changed.
    float32_nodes
        Names of the nodes that stay float32. What one of them computes for another one is never rounded.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():
        # Weights below the smallest float16 are rounded up to it; the agreement check covers the effect.
        warnings.filterwarnings("ignore", "the float32 number", UserWarning)
        half = convert_float_to_float16(model, keep_io_types=True, node_block_list=list(float32_nodes))
    _join_float32(half)
    in_order(half)
    return half


def _join_float32(model: onnx.ModelProto) -> None:
    """Remove each pair of casts, to float16 and back, between two nodes that stay float32."""
    producers = {name: node for node in model.graph.node for name in node.output}
    outputs = {output.name for output in model.graph.output}
    renamed: dict[str, str] = {}
    for node in model.graph.node:
        source = producers.get(node.input[0]) if node.input and _casts_to(node, TensorProto.FLOAT) else None
        if source is None or not _is_added(source):
            continue
        if node.output[0] in outputs:
            node.CopyFrom(helper.make_node("Identity", [source.input[0]], list(node.output), name=node.name))
        else:
            renamed[node.output[0]] = source.input[0]
    for node in model.graph.node:
        for at, name in enumerate(node.input):
            node.input[at] = renamed.get(name, name)
    for _ in range(2):  # the second cast of a pair, then the first
        read = outputs | {name for node in model.graph.node for name in node.input}
        kept = [node for node in model.graph.node if node.op_type != "Cast" or node.output[0] in read]
        del model.graph.node[:]
        model.graph.node.extend(kept)


def _casts_to(node: NodeProto, dtype: int) -> bool:
    return node.op_type == "Cast" and any(one.name == "to" and one.i == dtype for one in node.attribute)


def _is_added(node: NodeProto) -> bool:
    """Return whether a node is a cast to float16 that the converter added; its own casts are of other types."""
    added = node.name.endswith("_cast_to_fp16_node") or node.name.startswith("graph_input_cast")
    return added and _casts_to(node, TensorProto.FLOAT16)


def emulate(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a float32 graph that rounds to float16 wherever a float16 graph does.

    What follows an operator of ONNX Runtime's own is not rounded before the next cast: ONNX does not know its types.
    """
    model = onnx.shape_inference.infer_shapes(model)
    half = {one.name for one in model.graph.value_info if one.type.tensor_type.elem_type == TensorProto.FLOAT16}
    for tensor in model.graph.initializer:
        _widen(tensor)
    nodes = []
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                _widen(attribute.t)
            elif attribute.name in {"to", "dtype"} and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
        nodes += [node, *_rounding(node, half)]
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    return model


def _widen(tensor: TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT16:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))


def _rounding(node: NodeProto, half: Collection[str]) -> Iterator[NodeProto]:
    """Yield the casts that round the float16 outputs of a node, and let it write to the first of them."""
    for at, name in enumerate(node.output):
        if name in half:
            node.output[at] = f"{name}@exact"
            yield helper.make_node("Cast", [f"{name}@exact"], [f"{name}@half"], to=TensorProto.FLOAT16)
            yield helper.make_node("Cast", [f"{name}@half"], [name], to=TensorProto.FLOAT)


@contextmanager
def _emulated(path: Path) -> Iterator[Path]:
    with TemporaryDirectory(prefix="automask-float16-") as folder:
        target = Path(folder) / path.name
        onnx.save(emulate(onnx.load(path)), target)
        yield target


def open_on_cpu(path: Path, precision: str) -> Session:
    """Open a graph of a precision on the CPU, where it computes what it does on its device: float16 is emulated."""
    if precision != "fp16":
        return Session(path, CPU, tuning=FRUGAL)
    with _emulated(path) as emulated:
        return Session(emulated, CPU, tuning=FRUGAL)
