"""Operators of ONNX Runtime's own in place of what exporters spell out."""

from __future__ import annotations

import onnx

__all__ = ["fused"]


def fused(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fuse."""
    return model
