"""Tracing torch modules to ONNX graphs, and saving graphs that share a file of weights."""

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

# Smaller tensors stay in the graph: shapes, axes and scalars, which shape inference reads.
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
        Names of the dynamic axes, by input or output name and axis.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        # The tracing exporter is deprecated since torch 2.9, but keeps these graphs small and dynamic.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)  # `slim` folds the rest
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
    """Write several graphs whose weights are in one file, each tensor once.

    Parameters
    ----------
    models
        Graph by the file to write. Initializers of the same name must hold the same values.
    data
        File of the weights, in the same folder as the graphs.

    Raises
    ------
    ValueError
        Initializers of the same name differ.
    """
    stored: dict[str, tuple[int, bytes]] = {}
    blob = bytearray()
    for model in models.values():
        for tensor in model.graph.initializer:
            raw = onnx.numpy_helper.to_array(tensor).tobytes()
            if len(raw) < _EXTERNAL_BYTES:
                continue
            if tensor.name not in stored:
                blob += bytes(-len(blob) % _ALIGNMENT)
                stored[tensor.name] = (len(blob), raw)
                blob += raw
            elif stored[tensor.name][1] != raw:
                raise ValueError(f"initializer {tensor.name!r} differs between the graphs that share {data.name}")
    data.write_bytes(blob)
    for path, model in models.items():
        for tensor in model.graph.initializer:
            if tensor.name in stored:
                _point_to(tensor, data.name, *stored[tensor.name])
        path.write_bytes(model.SerializeToString(deterministic=True))
        onnx.checker.check_model(str(path), full_check=True)


def _point_to(tensor: onnx.TensorProto, location: str, offset: int, raw: bytes) -> None:
    for field in ("raw_data", "float_data", "int32_data", "int64_data"):
        tensor.ClearField(field)
    tensor.data_location = TensorProto.EXTERNAL
    del tensor.external_data[:]
    for key, value in (("location", location), ("offset", offset), ("length", len(raw))):
        tensor.external_data.append(onnx.StringStringEntryProto(key=key, value=str(value)))
