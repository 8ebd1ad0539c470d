"""ONNX graphs that every export writes: slimmed, checked, the same bytes each time."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxslim

__all__ = ["OPSET", "save", "slim"]

OPSET = 17


def slim(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold constants, merge what can be merged, and drop what only the exporter wanted."""
    slimmed: onnx.ModelProto = onnxslim.slim(model)
    del slimmed.graph.value_info[:]
    for node in slimmed.graph.node:
        node.doc_string = ""
    slimmed.doc_string, slimmed.producer_name, slimmed.producer_version = "", "automask", ""
    del slimmed.metadata_props[:]
    return slimmed


def save(model: onnx.ModelProto, path: Path) -> None:
    """Check a self-contained graph and write it."""
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
