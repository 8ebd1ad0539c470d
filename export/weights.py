"""The large weights of graphs: kept aside while a graph is slimmed, and beside a large graph in a file of their own.

Everything that reads or checks a whole graph copies it many times, and Protobuf cannot hold more than 2 GiB.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import onnx
from onnx import NodeProto, TensorProto, helper

from automask.bundle import data_file

from .graph_files import LARGEST
from .graphs import save

__all__ = ["put_back", "take_out"]

_LARGE = 1 << 20  # bytes of a weight that is kept aside
_PAGE = 4096


def take_out(model: onnx.ModelProto) -> dict[str, TensorProto]:
    """Replace the large weights of a graph, in place, by inputs; return the weights by name.

    Those that slimming may merge with something stay: of a convolution, or a table that is read at constant positions.
    """
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    merged = {name for node in graph.node if not _only_computes(node, constants) for name in node.input}
    weights = {
        tensor.name: tensor
        for tensor in graph.initializer
        if len(tensor.raw_data) >= _LARGE and tensor.name not in merged
    }
    for at in reversed(range(len(graph.initializer))):
        if graph.initializer[at].name in weights:
            del graph.initializer[at]
    graph.input.extend(
        helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims)) for name, tensor in weights.items()
    )
    return weights


def _only_computes(node: NodeProto, constants: Collection[str]) -> bool:
    """Return whether slimming never reads the weight of a node."""
    return node.op_type in {"MatMul", "Gemm"} or (node.op_type == "Gather" and node.input[1] not in constants)


def put_back(model: onnx.ModelProto, weights: Mapping[str, TensorProto], path: Path) -> None:
    """Write a graph with the weights that `take_out` returned, those that a node reads; of a large one, beside it."""
    graph = model.graph
    for at in reversed(range(len(graph.input))):
        if graph.input[at].name in weights:
            del graph.input[at]
    read = {name for node in graph.node for name in node.input}
    kept = [tensor for name, tensor in weights.items() if name in read]
    if model.ByteSize() + sum(len(tensor.raw_data) for tensor in kept) <= LARGEST:
        graph.initializer.extend(kept)
        save(model, path)
        return
    with data_file(path).open("wb") as data:
        for tensor in kept:
            data.write(b"\0" * (-data.tell() % _PAGE))
            graph.initializer.append(_outside(tensor, data_file(path).name, data.tell()))
            data.write(tensor.raw_data)
    path.write_bytes(model.SerializeToString(deterministic=True))
    onnx.checker.check_model(str(path), full_check=True)


def _outside(tensor: TensorProto, file: str, offset: int) -> TensorProto:
    """Return the description of a tensor whose data is in a file."""
    outside = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    outside.data_location = TensorProto.EXTERNAL
    for key, value in (("location", file), ("offset", offset), ("length", len(tensor.raw_data))):
        outside.external_data.add(key=key, value=str(value))
    return outside
