"""Graphs too large for one file: their weights lie beside them. The limit is lowered, so that small ones are large."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor as TorchTensor
from torch import nn

from automask.bundle import read_bundle
from automask.errors import BundleError
from automask.export import graphs, weights
from automask.export.graph_files import copy_graph
from automask.export.graphs import Tensor, save
from automask.export.manifest import describe_graph
from automask.export.precision import write_precision
from automask.export.submodels import Submodel, export_submodels
from automask.manifest import describe_bundle, write_manifest
from automask.session import Session


class _Network(nn.Module):  # type: ignore[misc]
    config = None

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.LayerNorm(64), nn.Linear(64, 32))

    def forward(self, features: TorchTensor) -> dict[str, TorchTensor]:
        return {"results": self.layers(features)}


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (graphs, weights):
        monkeypatch.setattr(module, "LARGEST", 4096)
    monkeypatch.setattr(weights, "_LARGE", 1024)


@pytest.fixture
def submodel() -> Submodel:
    return Submodel(_Network().eval(), {"features": Tensor(("texts", 7, 64))}, {"results": Tensor(("texts", 7, 32))})


def run(path: Path, submodel: Submodel) -> float:
    """The relative error of a graph."""
    inputs = submodel.example_inputs()
    (found,) = Session(path, "cpu").run(**inputs)
    expected = submodel.run(inputs)["results"]
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.usefixtures("small_limit")
def test_the_weights_lie_beside_the_graph(submodel: Submodel, tmp_path: Path) -> None:
    path = export_submodels({"net": submodel}, tmp_path, task=None)["net"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["net.onnx", "net.onnx.data"]
    assert path.stat().st_size < 4096
    model = onnx.load(path)
    assert [one.name for one in model.graph.input] == ["features"]
    assert run(path, submodel) < 1e-6


@pytest.mark.usefixtures("small_limit")
def test_other_precisions_are_made_of_it(submodel: Submodel, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    path = export_submodels({"net": submodel}, tmp_path, task=None)["net"]
    for precision, name, limit in (("fp32", "net.onnx", 1e-6), ("int8", "net.int8.onnx", 0.05)):
        target = tmp_path / "out" / name
        write_precision(path, target, precision, optimize=False)
        assert run(target, submodel) < limit
    with pytest.raises(ValueError, match=r"names its weights net\.onnx\.data; it cannot become other\.onnx"):
        copy_graph(path, tmp_path / "out" / "other.onnx")


@pytest.mark.usefixtures("small_limit")
def test_a_graph_that_is_written_again_has_its_new_weights_alone(submodel: Submodel, tmp_path: Path) -> None:
    path = export_submodels({"net": submodel}, tmp_path, task=None)["net"]
    for _ in range(2):
        save(onnx.load(path), path)
    assert run(path, submodel) < 1e-6
    assert path.with_name("net.onnx.data").stat().st_size < 64 * (64 + 32) * 4 + 3 * 4096


@pytest.mark.usefixtures("small_limit")
def test_a_bundle_checks_the_weights_of_the_graphs_that_are_opened(submodel: Submodel, tmp_path: Path) -> None:
    export_submodels({"net": submodel}, tmp_path, task=None)
    described = describe_graph("net", ["fp32", "int8"], submodel.inputs, submodel.outputs)
    (tmp_path / "net.int8.onnx").write_bytes(b"another precision")
    manifest = describe_bundle(
        tmp_path, name="n", family="dense", description="d", licence="l", sources=[], exported_with={},
        graphs={"net": described}, image={}, text={}, calibration=[(0, 0), (1, 1)],
    )  # fmt: skip
    write_manifest(tmp_path, manifest)
    bundle = read_bundle(tmp_path)
    bundle.check()
    (tmp_path / "net.onnx.data").write_bytes(b"damaged")
    bundle.check(opened=["net.int8.onnx"])
    with pytest.raises(BundleError, match=r"net\.onnx\.data is damaged"):
        bundle.check(opened=["net.onnx"])
