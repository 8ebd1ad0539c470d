"""PicoDet-S (Yu et al., arXiv 2111.00902): from Paddle's format to a clean ONNX graph."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from ...graphs import slim
from ...registries import SourceError
from .weights import half_weights

__all__ = [
    "CELLS",
    "CLASSES",
    "CONVERTER",
    "NMS_IOU",
    "SIZE",
    "STRIDES",
    "Conversion",
    "class_names",
    "compressed",
    "convert",
    "decode",
    "detector_graph",
]

SIZE = 416
STRIDES = (8, 16, 32, 64)
NMS_IOU = 0.5  # from the model's infer_cfg.yml
CLASSES = 80
CELLS = sum((-(-SIZE // stride)) ** 2 for stride in STRIDES)
# The last versions that convert this model; newer ones fail.
CONVERTER = {"paddlepaddle": "2.6.2", "paddle2onnx": "1.2.11"}

# Tensors where the converted graph's own decoding and suppression begin.
_SCORES, _DISTANCES = "Concat.9", "Concat.11"


@dataclass(frozen=True)
class Conversion:
    """The results of the converter.

    Attributes
    ----------
    model
        The whole graph, post-processing included.
    scores
        Paddle's own class scores for the parity image, shape (80, cells).
    boxes
        Paddle's own boxes, shape (cells, 4): left, top, right, bottom in pixels of the 416 square.
    """

    model: onnx.ModelProto
    scores: NDArray[np.float32]
    boxes: NDArray[np.float32]


def convert(sources: Path, work: Path, image: NDArray[np.float32]) -> Conversion:
    """Convert the Paddle model in a separate environment, and run it there, in Paddle, on one image.

    Parameters
    ----------
    sources
        Holds ``model.pdmodel`` and ``model.pdiparams``; the environment is kept there for later runs.
    work
        Folder for temporary files.
    image
        Normalised, shape (1, 3, 416, 416).

    Raises
    ------
    SourceError
        The environment cannot be created, or the conversion failed.
    """
    python = _environment(sources / "paddle-venv")
    for name in ("model.pdmodel", "model.pdiparams"):
        shutil.copyfile(sources / name, work / name)
    np.save(work / "image.npy", image)
    worker = Path(__file__).with_name("paddle_worker.py")
    _run([str(python), str(worker), str(work), str(work / "image.npy")], "the conversion from Paddle")
    with np.load(work / "picodet.npz") as results:
        return Conversion(onnx.load(work / "picodet.onnx"), results["scores"][0], results["boxes"][0])


def detector_graph(whole: onnx.ModelProto) -> onnx.ModelProto:
    """Keep the network up to its class scores and distances, with clean names and float32 weights.

    Inputs and outputs: ``image`` (batch, 3, 416, 416); ``scores`` (batch, cells, 80) in 0..1; ``distances``
    (batch, cells, 4), from a cell's centre to the box's left, top, right and bottom in units of the cell's stride.
    Cells are in order of stride, then row, then column.
    """
    model = onnx.ModelProto()
    model.CopyFrom(whole)
    graph = model.graph
    produced = {name for node in graph.node for name in node.output}
    if not {_SCORES, _DISTANCES} <= produced:
        raise SourceError(f"the converted detector must have the tensors {_SCORES} and {_DISTANCES}; use {CONVERTER}")
    graph.node.append(helper.make_node("Transpose", [_SCORES], ["scores"], perm=[0, 2, 1]))
    graph.node.append(helper.make_node("Identity", [_DISTANCES], ["distances"]))
    kept = _needed(graph.node, {"scores", "distances"})
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(kept)
    graph.input.append(_tensor("image", 3, SIZE, SIZE))
    graph.output.extend([_tensor("scores", CELLS, CLASSES), _tensor("distances", CELLS, 4)])
    graph.name = "picodet"
    return slim(model)


def compressed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of the graph with float16 weights."""
    small = onnx.ModelProto()
    small.CopyFrom(model)
    half_weights(small)
    return small


def decode(distances: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert one image's distances (cells, 4) to boxes (cells, 4), in pixels of the 416 square."""
    centres, strides = [], []
    for stride in STRIDES:
        side = -(-SIZE // stride)
        rows, columns = np.mgrid[:side, :side].reshape(2, -1)
        centres.append(np.stack([columns, rows], axis=1) + 0.5)
        strides.append(np.full((side * side, 1), stride))
    centre, stride_column = np.concatenate(centres), np.concatenate(strides)
    corners = np.concatenate([centre - distances[:, :2], centre + distances[:, 2:]], axis=1)
    boxes: NDArray[np.float32] = (corners * stride_column).astype(np.float32)
    return boxes


def class_names(config: Path) -> list[str]:
    """Read the 80 class names, in the detector's order, from its ``infer_cfg.yml``."""
    lines = config.read_text(encoding="utf-8").splitlines()
    names: list[str] = []
    for line in lines[lines.index("label_list:") + 1 :]:
        if not line.startswith("- "):
            break
        names.append(line.removeprefix("- "))
    if len(names) != CLASSES:
        raise SourceError(f"{config} must list {CLASSES} classes, got {len(names)}")
    return names


def _environment(folder: Path) -> Path:
    """Return the Python of the converter's environment, created if necessary."""
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    ready = folder / "ready"
    if not ready.exists():
        _run([sys.executable, "-m", "venv", "--clear", str(folder)], "creating the converter's environment")
        pins = [f"{name}=={version}" for name, version in CONVERTER.items()]
        # paddlepaddle 2.6 imports setuptools without requiring it.
        command = [str(python), "-m", "pip", "install", "--quiet", *pins, "numpy<2", "setuptools"]
        _run(command, "installing the converter (paddlepaddle 2.6.2 needs Python 3.8 to 3.12)")
        ready.touch()
    return python


def _run(command: Sequence[str], what: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 (our own commands)
    if done.returncode:
        tail = " / ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise SourceError(f"{what} failed: {tail}")


def _needed(nodes: Sequence[onnx.NodeProto], outputs: set[str]) -> list[onnx.NodeProto]:
    """Return the nodes that the outputs depend on, in their order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input)
    return kept[::-1]


def _tensor(name: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
