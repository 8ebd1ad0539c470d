"""The graphs beside a model on a device with its own memory: an image of bytes to the input of an encoder; a copy.

`python -m automask.export.front runtime/data` writes them; a test compares.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from .graphs import OPSET, save

__all__ = ["copy_graph", "linear_graph", "matrix_graph", "write"]

_Shape: TypeAlias = Sequence[str | int]

_NORMALISATION: Mapping[str, _Shape] = {"mean": (3, 1, 1), "scale": (3, 1, 1), "fill": (3, 1, 1)}
_CONSTANTS: Mapping[str, Any] = {
    "zero": np.int64(0), "one": np.int64(1), "first": np.array([0]), "last": np.array([1]),
    "half": np.float32(0.5), "black": np.float32(0), "white": np.float32(255), "level": np.float32(1),
    "round": np.int32(2), "quarter": np.int32(4), "sixteenth": np.int32(16), "high": np.int32(65536),
}  # fmt: skip


def matrix_graph(*, vertical_first: bool) -> onnx.ModelProto:
    """Return a graph that resizes by two matrix products; `automask.device_resize` documents its inputs."""
    products = ["planes", "columns"], ["rows", "between"]
    if vertical_first:
        products = ["rows", "planes"], ["between", "columns"]
    nodes = [
        _node("Cast", ["pixels"], "float", to=TensorProto.FLOAT),
        _node("Transpose", ["float"], "planes", perm=[2, 0, 1]),
        _node("MatMul", products[0], "once"),
        *_round("once", "rounded", "step"),
        _node("Gather", ["limits", "zero"], "least"),
        _node("Gather", ["limits", "one"], "most"),
        _node("Clip", ["rounded", "least", "most"], "between"),
        _node("MatMul", products[1], "twice"),
        *_round("twice", "levels", "level"),
        _node("Clip", ["levels", "black", "white"], "resized"),
        _node("ReduceSum", ["rows", "last"], "row_sums", keepdims=1),
        _node("ReduceSum", ["columns", "first"], "column_sums", keepdims=1),
        *_normalise(),
    ]
    inputs: dict[str, _Shape] = {
        "columns": ("width", "size"),
        "rows": ("size", "height"),
        "step": (),
        "limits": (2,),
    }
    return _model(f"front_{'vertical' if vertical_first else 'horizontal'}", nodes, {**inputs, **_NORMALISATION}, {})


def linear_graph() -> onnx.ModelProto:
    """Return the graph that interpolates as OpenCV does, in its integers; see `automask.device_resize`."""
    nodes = [
        _node("Cast", ["pixels"], "values", to=TensorProto.INT32),
        *_mix("values", "columns", "column_weights", axis=1, output="wide"),
        _node("Add", ["wide.0", "wide.1"], "sums"),
        _node("Div", ["sums", "sixteenth"], "reduced"),
        *_mix("reduced", "rows", "row_weights", axis=0, output="tall"),
        _node("Div", ["tall.0", "high"], "upper"),
        _node("Div", ["tall.1", "high"], "lower"),
        _node("Add", ["upper", "lower"], "both"),
        _node("Add", ["both", "round"], "raised"),
        _node("Div", ["raised", "quarter"], "levels"),
        _node("Cast", ["levels"], "float", to=TensorProto.FLOAT),
        _node("Transpose", ["float"], "resized", perm=[2, 0, 1]),
        _node("ReduceSum", ["row_weights", "first"], "row_totals", keepdims=0),
        _node("ReduceSum", ["column_weights", "first"], "column_totals", keepdims=0),
        _node("Cast", ["row_totals"], "row_floats", to=TensorProto.FLOAT),
        _node("Cast", ["column_totals"], "column_floats", to=TensorProto.FLOAT),
        _node("Squeeze", ["row_floats", "last"], "row_sums"),  # (size, 1)
        _node("Squeeze", ["column_floats", "last"], "column_sums"),  # (size,)
        *_normalise(),
    ]
    integers: dict[str, _Shape] = {"columns": (2, "size"), "rows": (2, "size")}
    weights: dict[str, _Shape] = {"column_weights": (2, "size", 1), "row_weights": (2, "size", 1, 1)}
    return _model("front_linear", nodes, _NORMALISATION, {**integers, **weights})


def copy_graph() -> onnx.ModelProto:
    """Return the graph that copies a tensor of any shape; see `automask.recorded`."""
    shapes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("source", "copy")]
    graph = helper.make_graph([_node("Identity", ["source"], "copy")], "copy", shapes[:1], shapes[1:])
    return _finish(graph)


def _mix(source: str, at: str, weights: str, *, axis: int, output: str) -> list[NodeProto]:
    """Return the nodes that take two neighbours of each output along an axis, and multiply each by its weight."""
    nodes = []
    for number, index in enumerate(("zero", "one")):
        nodes += [
            _node("Gather", [at, index], f"{at}.{number}", axis=0),
            _node("Gather", [weights, index], f"{weights}.{number}", axis=0),
            _node("Gather", [source, f"{at}.{number}"], f"{source}.{number}", axis=axis),
            _node("Mul", [f"{source}.{number}", f"{weights}.{number}"], f"{output}.{number}"),
        ]
    return nodes


def _normalise() -> list[NodeProto]:
    return [
        _node("Sub", ["resized", "mean"], "centred"),
        _node("Mul", ["centred", "scale"], "scaled"),
        # Rows and columns of padding have no weights.
        _node("Mul", ["row_sums", "column_sums"], "totals"),
        _node("Greater", ["totals", "half"], "inside"),
        _node("Where", ["inside", "scaled", "fill"], "filled"),
        _node("Unsqueeze", ["filled", "first"], "image"),
    ]


def _round(name: str, output: str, step: str) -> list[NodeProto]:
    """Return the nodes that round to multiples of a step, halves upwards as OpenCV and Pillow do."""
    return [
        _node("Div", [name, step], f"{name}_steps"),
        _node("Add", [f"{name}_steps", "half"], f"{name}_raised"),
        _node("Floor", [f"{name}_raised"], f"{name}_whole"),
        _node("Mul", [f"{name}_whole", step], output),
    ]


def _node(kind: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:  # noqa: ANN401 (onnx's own)
    return helper.make_node(kind, inputs, [output], name=output, **attributes)


def _model(
    name: str, nodes: list[NodeProto], floats: Mapping[str, _Shape], integers: Mapping[str, _Shape]
) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["height", "width", 3])]
    inputs += [helper.make_tensor_value_info(one, TensorProto.INT32, shape) for one, shape in integers.items()]
    inputs += [helper.make_tensor_value_info(one, TensorProto.FLOAT, shape) for one, shape in floats.items()]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "size", "size"])
    read = {one for node in nodes for one in node.input}
    constants = [numpy_helper.from_array(np.asarray(value), one) for one, value in _CONSTANTS.items() if one in read]
    graph = helper.make_graph(nodes, name, inputs, [image], constants)
    return _finish(graph)


def _finish(graph: onnx.GraphProto) -> onnx.ModelProto:
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="automask")


def write(folder: Path) -> None:
    """Write the graphs into a folder."""
    matrices = (matrix_graph(vertical_first=first) for first in (True, False))
    for model in (*matrices, linear_graph()):
        save(model, folder / f"{model.graph.name}.onnx")
    # ONNX's checker wants a number of axes.
    (folder / "copy.onnx").write_bytes(copy_graph().SerializeToString(deterministic=True))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
