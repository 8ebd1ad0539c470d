"""Bundles whose graphs give fixed outputs, whatever the image: what is done with the outputs can be checked by hand."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from automask.bundle import MANIFEST
from automask.lookup import find_bundle

Array = NDArray[np.float32]
SIZE = 64
PIXELS: dict[str, Any] = {
    "size": SIZE, "resize": "stretch", "interpolation": "pillow_bilinear", "mean": [0, 0, 0], "std": [255, 255, 255],
}  # fmt: skip


def plain_vocabulary(labels: tuple[str, ...], **changes: Any) -> dict[str, Any]:
    """A vocabulary of the labels alone."""
    aliases = {label: index for index, label in enumerate(labels)}
    return {"labels": labels, "aliases": aliases, "words": [], "refused": [], "plurals": {}, **changes}


def constant_bundle(
    folder: Path,
    family: str,
    role: str,
    outputs: Mapping[str, Array],
    labels: tuple[str, ...],
    *,
    pixels: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """Write a bundle with one constant graph; for the family `boxes` also the drawer of the embedded bundle.

    Parameters
    ----------
    outputs
        Without the axis of the batch.
    pixels
        Changes to the settings of the preprocessing.
    changes
        Changes to the manifest.
    """
    folder.mkdir(parents=True)
    _write_graph(folder / f"{role}.onnx", outputs)
    (folder / "vocabulary.json").write_text(json.dumps(changes.pop("vocabulary", None) or plain_vocabulary(labels)))
    shapes = {name: {"dtype": "float32", "shape": ["batch", *one.shape]} for name, one in outputs.items()}
    inputs = {"pixel_values": {"dtype": "float32", "shape": ["batch", 3, SIZE, SIZE]}}
    manifest: dict[str, Any] = {
        "schema_version": 1, "name": folder.name, "family": family, "description": "A constant.", "licence": "none",
        "sources": [], "graphs": {role: {"variants": {"fp32": f"{role}.onnx"}, "inputs": inputs, "outputs": shapes}},
        "image": {role: {**PIXELS, **(pixels or {})}}, "text": {"file": "vocabulary.json"},
        "calibration": [[0, 0], [0.5, 0.2], [1, 1]],
    }  # fmt: skip
    if family == "boxes":
        _add_drawer(folder, manifest)
    manifest |= changes
    manifest["files"] = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def _write_graph(path: Path, outputs: Mapping[str, Array]) -> None:
    constants = [numpy_helper.from_array(one[None].astype(np.float32), f"{name}_") for name, one in outputs.items()]
    nodes = [helper.make_node("Identity", [f"{name}_"], [name]) for name in outputs]
    given = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, *one.shape]) for name, one in outputs.items()]
    graph = helper.make_graph(nodes, "constant", [given], made, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def _add_drawer(folder: Path, manifest: dict[str, Any]) -> None:
    embedded = find_bundle("default").folder
    settings = json.loads((embedded / MANIFEST).read_text())
    for role in ("image_encoder", "mask_decoder"):
        manifest["graphs"][role] = settings["graphs"][role]
        for file in embedded.glob(f"{role}*"):
            shutil.copy(file, folder)
    manifest["image"]["image_encoder"] = settings["image"]["image_encoder"]
    manifest["kinds"] = {"finder": "labels", "drawer": "sam"}
