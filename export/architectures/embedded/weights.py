"""Small weights for ONNX graphs: int8 or float16 storage, integer products.

Weights are stored in few bits and converted to float32 by ordinary nodes (`Cast`, `Mul`), not by `DequantizeLinear`.
With default session options, ONNX Runtime folds the former when it loads a graph, which is then as fast as one stored
in float32. It keeps the latter in the graph for its integer kernels, and executes them at every call.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

__all__ = ["compact_biases", "dynamic_products", "find_weights", "half_weights", "quantise_weights"]

# Norms, biases and other small tensors stay in float32: they set the scale of everything else.
_MIN_ELEMENTS = 1024


@dataclass(frozen=True)
class Weight:
    """A float32 initializer that is a layer's weight."""

    name: str
    operator: str
    output_axis: int


def find_weights(model: onnx.ModelProto) -> Iterator[Weight]:
    """Yield each large weight of a convolution or matrix product once, in graph order."""
    large = {t.name for t in model.graph.initializer if _is_large(t)}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "MatMul", "Gemm") or node.input[1] not in large:
            continue
        large.discard(node.input[1])
        columns = node.op_type == "MatMul" or (node.op_type == "Gemm" and not _attribute(node, "transB"))
        yield Weight(node.input[1], node.op_type, -1 if columns else 0)


def quantise_weights(model: onnx.ModelProto, *, product_bits: int) -> None:
    """Store every large weight as int8 with one scale per output channel, in place.

    Parameters
    ----------
    model
        A graph whose weights are float32 initializers.
    product_bits
        Bits for the weights of matrix products, 7 or 8. x86 processors without VNNI add pairs of 8-bit products in
        16 bits and saturate; with 7-bit weights `dynamic_products` is exact on every processor.
    """
    for weight in list(find_weights(model)):
        bits = product_bits if weight.operator == "MatMul" else 8
        values, scale = _quantise(_pop_initializer(model, weight.name), weight.output_axis, bits)
        stored, scales = f"{weight.name}.int8", f"{weight.name}.scale"
        model.graph.initializer.extend(
            [numpy_helper.from_array(values, stored), numpy_helper.from_array(scale, scales)]
        )
        whole = f"{weight.name}.whole"
        _prepend(
            model,
            helper.make_node("Cast", [stored], [whole], to=TensorProto.FLOAT),
            helper.make_node("Mul", [whole, scales], [weight.name]),
        )


def half_weights(model: onnx.ModelProto, *, keep: Collection[str] = ()) -> None:
    """Store every large float32 tensor but those in `keep` in float16, in place; the arithmetic stays in float32."""
    for name in [t.name for t in model.graph.initializer if _is_large(t) and t.name not in keep]:
        stored = f"{name}.half"
        values = _pop_initializer(model, name).astype(np.float16)
        model.graph.initializer.append(numpy_helper.from_array(values, stored))
        _prepend(model, helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT))


def dynamic_products(model: onnx.ModelProto) -> None:
    """Make every product with an int8 weight an integer product, in place; activations are quantised at run time.

    The nodes have the pattern that ONNX Runtime fuses into its ``DynamicQuantizeMatMul`` kernel.
    """
    stored = {t.name for t in model.graph.initializer if t.data_type == TensorProto.INT8}
    nodes: list[onnx.NodeProto] = []
    quantised: set[str] = set()
    for node in model.graph.node:
        if node.op_type == "MatMul" and f"{node.input[1]}.int8" in stored:
            nodes += _integer_product(node, quantised)
        else:
            nodes.append(node)
    used = {name for node in nodes for name in node.input}
    kept = _without_unused(nodes, used | {o.name for o in model.graph.output})
    del model.graph.node[:]
    model.graph.node.extend(kept)


def compact_biases(model: onnx.ModelProto) -> int:
    """Store window-attention biases as the small tables that they were gathered from, in place.

    An expanded bias has shape (heads, tokens, tokens). An entry depends only on the row and column distance of the two
    tokens, so the first row is the table. ONNX Runtime gathers it again when it loads the graph.

    Returns
    -------
    int
        Number of compacted biases.
    """
    done = 0
    for name, shape in [(t.name, tuple(t.dims)) for t in model.graph.initializer]:
        if len(shape) != 3 or shape[1] != shape[2] or round(shape[1] ** 0.5) ** 2 != shape[1]:
            continue
        index = _bias_index(round(shape[1] ** 0.5))
        values = _initializer(model, name)
        if not np.array_equal(values[:, 0][:, index], values):
            continue
        _pop_initializer(model, name)
        shared = f"bias_index_{shape[1]}"
        if not any(t.name == shared for t in model.graph.initializer):
            # At most 196 offsets: they fit into bytes.
            model.graph.initializer.append(numpy_helper.from_array(index.astype(np.uint8), shared))
            _prepend(model, helper.make_node("Cast", [shared], [f"{shared}.wide"], to=TensorProto.INT32))
        table = numpy_helper.from_array(np.ascontiguousarray(values[:, 0]), f"{name}.table")
        model.graph.initializer.append(table)
        node = helper.make_node("Gather", [table.name, f"{shared}.wide"], [name], axis=1)
        _insert_before_use(model, node)
        done += 1
    return done


def _bias_index(window: int) -> NDArray[np.intp]:
    rows, columns = np.divmod(np.arange(window * window), window)
    index: NDArray[np.intp] = np.abs(rows[:, None] - rows) * window + np.abs(columns[:, None] - columns)
    return index


def _quantise(weight: NDArray[np.float32], output_axis: int, bits: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    axis = output_axis % weight.ndim
    others = tuple(i for i in range(weight.ndim) if i != axis)
    limit = 2 ** (bits - 1) - 1
    largest = np.abs(weight).max(axis=others, keepdims=True)
    scale = np.where(largest > 0, largest / limit, 1).astype(np.float32)
    values = np.clip(np.rint(weight / scale), -limit, limit).astype(np.int8)
    # The last axis needs no reshaping to broadcast, and the fused integer product requires a vector.
    return values, scale.reshape(-1) if axis == weight.ndim - 1 else scale


def _integer_product(node: onnx.NodeProto, quantised: set[str]) -> list[onnx.NodeProto]:
    data, weight = node.input
    output = node.output[0]
    codes, scale, zero = (f"{data}.{part}" for part in ("uint8", "uint8_scale", "uint8_zero"))
    nodes = []
    if data not in quantised:
        quantised.add(data)
        nodes.append(helper.make_node("DynamicQuantizeLinear", [data], [codes, scale, zero]))
    both, whole, wide = f"{output}.scale", f"{output}.int32", f"{output}.float"
    return [
        *nodes,
        helper.make_node("Mul", [scale, f"{weight}.scale"], [both]),
        helper.make_node("MatMulInteger", [codes, f"{weight}.int8", zero], [whole]),
        helper.make_node("Cast", [whole], [wide], to=TensorProto.FLOAT),
        helper.make_node("Mul", [wide, both], [output], name=node.name),
    ]


def _without_unused(nodes: list[onnx.NodeProto], used: set[str]) -> list[onnx.NodeProto]:
    """Remove nodes whose outputs nothing reads any more: those that converted a weight to float32."""
    while True:
        kept = [n for n in nodes if any(o in used for o in n.output)]
        if len(kept) == len(nodes):
            return kept
        nodes, used = kept, used & {name for n in kept for name in (*n.input, *n.output)}


def _prepend(model: onnx.ModelProto, *nodes: onnx.NodeProto) -> None:
    for node in reversed(nodes):
        model.graph.node.insert(0, node)


def _insert_before_use(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    first = next(i for i, n in enumerate(model.graph.node) if node.output[0] in n.input)
    model.graph.node.insert(first, node)


def _initializer(model: onnx.ModelProto, name: str) -> NDArray[np.float32]:
    return np.asarray(numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == name)), np.float32)


def _pop_initializer(model: onnx.ModelProto, name: str) -> NDArray[np.float32]:
    tensor = next(t for t in model.graph.initializer if t.name == name)
    values = np.asarray(numpy_helper.to_array(tensor), np.float32)
    model.graph.initializer.remove(tensor)
    return values


def _is_large(tensor: onnx.TensorProto) -> bool:
    matrix = tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1
    return matrix and int(np.prod(tensor.dims)) >= _MIN_ELEMENTS


def _attribute(node: onnx.NodeProto, name: str) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), 0)
