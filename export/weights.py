"""The weights of large graphs: kept aside while a graph is slimmed, and in a file of their own beside it.

Protobuf cannot hold more than 2 GiB, and everything that reads or checks a whole graph copies it several times.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from .graph_files import data_file

__all__ = ["LARGEST", "put_back", "take_out"]

LARGEST = 1 << 30
"""Bytes of the largest graph whose weights are inside. Below 2 GiB, because ONNX Runtime maps a file of weights into
memory instead of copying them."""

_LARGE = 1 << 20  # bytes of a weight that is kept aside; slimming reads and merges only smaller ones
_PAGE = 4096


def take_out(model: onnx.ModelProto) -> dict[str, TensorProto]:
    """Replace the large weights of a large graph, in place, by inputs.

    Returns
    -------
    dict
        The weights by name; empty for a graph that is not large.
    """
    if model.ByteSize() <= LARGEST:
        return {}
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer if len(tensor.raw_data) >= _LARGE}
    for at in reversed(range(len(graph.initializer))):
        if graph.initializer[at].name in weights:
            del graph.initializer[at]
    graph.input.extend(
        helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims)) for name, tensor in weights.items()
    )
    return weights


def put_back(model: onnx.ModelProto, weights: Mapping[str, TensorProto], path: Path) -> None:
    """Write a graph with the weights that `take_out` returned: those that a node reads, to the file beside it."""
    graph = model.graph
    for at in reversed(range(len(graph.input))):
        if graph.input[at].name in weights:
            del graph.input[at]
    read = {name for node in graph.node for name in node.input}
    with data_file(path).open("wb") as data:
        for name, tensor in weights.items():
            if name in read:
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
