"""Torch modules to slim ONNX graphs, and graphs to files."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import torch
from onnx import TensorProto

from ...graphs import OPSET, slim

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Feed", "save_sharing", "trace"]

# Below this a tensor stays in the graph: shapes, axes and scalars that shape inference wants to read.
_EXTERNAL_BYTES = 256
_ALIGNMENT = 64

Feed = Mapping[str, "Tensor"]


def trace(
    module: nn.Module, feed: Feed, outputs: Sequence[str], dynamic: Mapping[str, Mapping[int, str]]
) -> onnx.ModelProto:
    """Export a module to a slimmed graph.

    Parameters
    ----------
    module
        Called with the feed's tensors in order.
    feed
        Input names to example tensors.
    outputs
        Output names.
    dynamic
        Input or output name to {axis: dimension name}, for the axes whose length is free.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        # Deprecated since torch 2.9, and still the exporter that keeps these graphs small and dynamic.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)  # what it leaves, `slim` folds
        torch.onnx.export(
            module.eval(),
            tuple(feed.values()),
            buffer,
            input_names=list(feed),
            output_names=list(outputs),
            dynamic_axes={name: dict(axes) for name, axes in dynamic.items()},
            opset_version=OPSET,
            dynamo=False,
        )
    return slim(onnx.load_from_string(buffer.getvalue()))


def save_sharing(models: Mapping[Path, onnx.ModelProto], data: Path) -> None:
    """Write several graphs whose weights lie in one file, each tensor once.

    Parameters
    ----------
    models
        Where to write each graph. Initializers of the same name must hold the same values.
    data
        The file for the weights, in the folder of all the graphs.
    """
    places: dict[str, tuple[int, bytes]] = {}
    blob = bytearray()
    for model in models.values():
        for tensor in model.graph.initializer:
            raw = onnx.numpy_helper.to_array(tensor).tobytes()
            if len(raw) < _EXTERNAL_BYTES:
                continue
            if tensor.name not in places:
                blob += bytes(-len(blob) % _ALIGNMENT)
                places[tensor.name] = (len(blob), raw)
                blob += raw
            elif places[tensor.name][1] != raw:
                raise ValueError(f"initializer {tensor.name!r} differs between the graphs that share {data.name}")
    data.write_bytes(blob)
    for path, model in models.items():
        for tensor in model.graph.initializer:
            if tensor.name in places:
                _point_to(tensor, data.name, *places[tensor.name])
        path.write_bytes(model.SerializeToString(deterministic=True))
        onnx.checker.check_model(str(path), full_check=True)


def _point_to(tensor: onnx.TensorProto, location: str, offset: int, raw: bytes) -> None:
    for field in ("raw_data", "float_data", "int32_data", "int64_data"):
        tensor.ClearField(field)
    tensor.data_location = TensorProto.EXTERNAL
    del tensor.external_data[:]
    for key, value in (("location", location), ("offset", offset), ("length", len(raw))):
        tensor.external_data.append(onnx.StringStringEntryProto(key=key, value=str(value)))
