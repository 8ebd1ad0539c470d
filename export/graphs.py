"""ONNX graphs: their tensors, and how every export slims and saves them, to the same bytes each time."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxslim

from automask.bundle import data_file

from .graph_files import LARGEST

__all__ = ["OPSET", "Tensor", "in_order", "save", "slim"]

OPSET = 17


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of a graph.

    Attributes
    ----------
    shape
        Lengths of the axes; a name marks an axis of any length.
    dtype
        numpy's name of the element type.
    """

    shape: tuple[int | str, ...]
    dtype: str = "float32"

    @property
    def dynamic_axes(self) -> dict[int, str]:
        """Names of the axes of any length."""
        return {axis: length for axis, length in enumerate(self.shape) if isinstance(length, str)}

    def described(self) -> dict[str, Any]:
        """Return the tensor's entry in the manifest."""
        return {"dtype": self.dtype, "shape": list(self.shape)}


def slim(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold constants, merge nodes, and drop the exporter's notes."""
    with _no_garbage_collection():
        slimmed: onnx.ModelProto = onnxslim.slim(model)
    del slimmed.graph.value_info[:]
    for node in slimmed.graph.node:
        node.doc_string = ""
    slimmed.doc_string, slimmed.producer_name, slimmed.producer_version = "", "automask", ""
    del slimmed.metadata_props[:]
    return slimmed


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Pause the garbage collector, which would scan the many small objects again and again, for a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def save(model: onnx.ModelProto, path: Path) -> None:
    """Check a graph and write it; the weights of a large one go to a file of their own beside it, ``<path>.data``."""
    data = data_file(path)
    data.unlink(missing_ok=True)  # the writer appends
    if model.ByteSize() <= LARGEST:
        onnx.checker.check_model(model, full_check=True)
        path.write_bytes(model.SerializeToString(deterministic=True))
        return
    onnx.save(model, path, save_as_external_data=True, location=data.name)
    onnx.checker.check_model(str(path), full_check=True)


def in_order(model: onnx.ModelProto) -> None:
    """Put every node after its inputs: ONNX Runtime's converters append their casts at the end."""
    waiting, nodes = list(model.graph.node), []
    made = {n for node in waiting for n in node.output}
    while waiting:
        ready = [node for node in waiting if not made & set(node.input)]
        nodes += ready
        made -= {n for node in ready for n in node.output}
        waiting = [node for node in waiting if made & set(node.output)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
