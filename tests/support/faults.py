"""Copies of the embedded bundle with faults that no hash shows, and faulty providers under ONNX Runtime."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from automask.bundle import MANIFEST, sha256
from automask.devices import import_onnxruntime
from automask.lookup import locate_bundle

Edit = Callable[[Any], None]


def faulty_bundle(folder: Path, edit: Edit, *files: str) -> Path:
    """Copy the embedded bundle, edit some graphs, and write their new hashes into its manifest."""
    shutil.copytree(locate_bundle("default"), folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    for file in files:
        model = onnx.load(folder / file)  # with its weights
        edit(model.graph)
        onnx.save(model, folder / file)
        manifest["files"][file] = sha256(folder / file)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def _weights(graph: Any, least: int = 1000) -> list[Any]:
    """Convolutions' and products' weights, in the order of the file."""
    return [one for one in graph.initializer if np.prod(one.dims) >= least and len(one.dims) >= 2]


def _change(tensor: Any, change: Callable[[NDArray[Any]], None]) -> None:
    array = numpy_helper.to_array(tensor).copy()
    change(array)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def change_weight(graph: Any) -> None:
    """One weight of a layer in the middle has a far larger value, as after a flipped bit."""

    def change(array: NDArray[Any]) -> None:
        is_integer = array.dtype.kind in "iu"
        array.flat[0] = np.iinfo(array.dtype).max if is_integer else 100 * np.abs(array).max()

    weights = _weights(graph)
    _change(weights[len(weights) // 2], change)


def swap_channels(graph: Any) -> None:
    """In a layer in the middle, each output channel changes places with its neighbour."""

    def change(array: NDArray[Any]) -> None:
        pairs = len(array) // 2 * 2
        array[:pairs] = array[:pairs].reshape(-1, 2, *array.shape[1:])[:, ::-1].reshape(pairs, *array.shape[1:])

    weights = _weights(graph)
    _change(weights[len(weights) // 2], change)


def scale_attention(graph: Any) -> None:
    """The scores of every attention are half of what they should be."""
    for node in list(graph.node):
        if node.op_type == "Softmax":
            _insert(graph, node, [("Mul", {}, 0.5)])


def overflow_in_fp16(graph: Any) -> None:
    """An activation goes through float16, at a scale at which it does not fit."""
    softmax = [node for node in graph.node if node.op_type in {"Softmax", "Sigmoid"}]
    node = softmax[len(softmax) // 2]
    _insert(graph, node, [("Mul", {}, 1e6), ("Cast", {"to": TensorProto.FLOAT16}, None),
                          ("Cast", {"to": TensorProto.FLOAT}, None), ("Mul", {}, 1e-6)])  # fmt: skip


def _insert(graph: Any, before: Any, steps: list[tuple[str, dict[str, Any], float | None]]) -> None:
    """Insert elementwise steps before the first input of a node."""
    name = before.input[0]
    at = [one.output[0] for one in graph.node].index(before.output[0])
    for number, (kind, attributes, factor) in enumerate(steps):
        output, inputs = f"{before.output[0]}_fault_{number}", [name]
        if factor is not None:
            graph.initializer.append(numpy_helper.from_array(np.array(factor, np.float32), f"{output}_factor"))
            inputs.append(f"{output}_factor")
        graph.node.insert(at + number, helper.make_node(kind, inputs, [output], **attributes))
        name = output
    before.input[0] = name


def replace_provider(monkeypatch: pytest.MonkeyPatch, change: Callable[[str, Any], Any]) -> None:
    """Let every session of ONNX Runtime change what its graph computes: `change(file name, output)`."""
    ort = import_onnxruntime()

    class Faulty(ort.InferenceSession):  # type: ignore[misc, name-defined]
        def __init__(self, path: Path, *arguments: Any, **options: Any) -> None:
            self.file = Path(path).name
            super().__init__(path, *arguments, **options)

        def run(self, *arguments: Any) -> list[Any]:
            return [change(self.file, output) for output in super().run(*arguments)]

    monkeypatch.setattr(ort, "InferenceSession", Faulty)


def open_stale(monkeypatch: pytest.MonkeyPatch, other: Path) -> None:
    """Let ONNX Runtime open the files of another bundle, as a cache of engines does that has the wrong key."""
    ort = import_onnxruntime()
    real = ort.InferenceSession
    monkeypatch.setattr(
        ort, "InferenceSession", lambda path, *args, **options: real(other / path.name, *args, **options)
    )
