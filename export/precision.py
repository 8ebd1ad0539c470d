"""Graphs in other precisions: int8 matrix products for CPUs, float16 for GPUs."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .float16 import convert, load_named
from .fusion import fuse_attention
from .graph_files import copy_graph
from .graphs import in_order, save

__all__ = ["write_precision"]


def write_precision(
    source: Path, target: Path, precision: str, *, optimize: bool, float32_nodes: Collection[str] = ()
) -> None:
    """Convert a float32 graph to a precision.

    Parameters
    ----------
    source
        The float32 graph.
    target
        The file to write.
    precision
        One of `PRECISIONS`.
    optimize
        Fuse attention into ONNX Runtime's own operator.
    float32_nodes
        What stays float32. In int8: names of matrix products, or what their names begin with. In fp16: names of nodes.
    """
    if precision == "int8":
        _write_int8(source, target, float32_nodes)
    elif precision == "fp16":
        _finish(convert(load_named(source), float32_nodes), target)
    else:
        copy_graph(source, target)
    if optimize:  # last, because the quantiser cannot read ONNX Runtime's own operators
        save(fuse_attention(onnx.load(target)), target)


def _write_int8(source: Path, target: Path, float32_nodes: Collection[str]) -> None:
    """Write a graph with int8 matrix products, whose activations are quantised at run time.

    Weights have one scale per output channel and 7 bits: x86 processors without VNNI add pairs of 8-bit products in 16
    bits and saturate. Convolutions stay in float32; lookup tables are stored in float16.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    excluded = _excluded(onnx.load(source, load_external_data=False), float32_nodes)
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it logs, on the root logger, that the graph was not preprocessed; `slim` did that
    try:
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=excluded,
            extra_options={"MatMulConstBOnly": True},
        )
    finally:
        root.setLevel(level)
    model = onnx.load(target)
    _half_tables(model)
    _finish(model, target)


def _excluded(model: onnx.ModelProto, prefixes: Collection[str]) -> list[str]:
    """Return the names of the matrix products that stay float32, as the quantiser has them.

    Raises
    ------
    ValueError
        No node's name begins with one of the prefixes: without the check, the graph would be quantised as a whole.
    """
    nodes = [node for node in model.graph.node if node.op_type in {"MatMul", "Gemm"}]
    for prefix in prefixes:
        if not any(node.name.startswith(prefix) for node in nodes):
            raise ValueError(f"no matrix product's name begins with {prefix!r}; there are {[n.name for n in nodes]}")
    # With one scale per channel, a weight that is a vector or a stack of matrices becomes a graph that ONNX Runtime
    # cannot load or run.
    others = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) != 2}
    kept = [node for node in nodes if node.name.startswith(tuple(prefixes)) or others & set(node.input[:2])]
    # `slim` joins a product of fixed shape and its bias to a Gemm, which the quantiser takes apart again.
    return [node.name if node.op_type == "MatMul" else f"{node.name}_MatMul" for node in kept]


def _half_tables(model: onnx.ModelProto) -> None:
    """Store lookup tables (the data of `Gather`), such as token embeddings, in float16; their output stays float32."""
    tables = {t.name: t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT and len(t.dims) == 2}
    readers = [node for node in model.graph.node for name in node.input if name in tables]
    for node in [n for n in readers if n.op_type == "Gather" and n.input[0] in tables]:
        name, output = node.input[0], node.output[0]
        if [name in n.input for n in readers].count(True) > 1:
            continue
        tensor = tables[name]
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), name))
        node.output[0] = f"{output}.half"
        cast = helper.make_node("Cast", [node.output[0]], [output], to=TensorProto.FLOAT)
        model.graph.node.insert(list(model.graph.node).index(node) + 1, cast)


def _finish(model: onnx.ModelProto, target: Path) -> None:
    in_order(model)
    del model.graph.value_info[:]
    del model.metadata_props[:]
    model.producer_name, model.producer_version = "automask", ""
    save(model, target)
