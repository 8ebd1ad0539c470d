"""Float16 graphs: what needs float32 is found by bisection and stays float32; the CPU rounds as a GPU does.

No GPU is used: the graphs are typed, and their rounding is emulated in float32.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from transformers import CLIPSegForImageSegmentation

import automask
from automask.export.float16 import convert, convertible, emulate, open_on_cpu
from automask.export.float32_nodes import Float32Nodes
from automask.export.switched_graph import SwitchedGraph
from automask.session import Session
from support.clipseg_checkpoints import checkpoint, run_command, tiny_config

Array = NDArray[Any]
LAYER = "layers.1/self_attn"  # the one with the overflow


@pytest.fixture(scope="module")
def overflowing(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The bundle of a checkpoint of which one attention has values of a million, and the output of the export."""
    base = tmp_path_factory.mktemp("overflow")
    model = checkpoint(base / "checkpoint", tiny_config(), size=64, gain=40.0)
    _plant(model)
    model.save_pretrained(base / "checkpoint")
    output = run_command(base / "checkpoint", base / "bundle", "--precision=fp32", "--precision=fp16")
    return base / "bundle", output


def _plant(model: CLIPSegForImageSegmentation) -> None:
    """Scale the values of one attention up and its output down: the same function, beyond what float16 holds."""
    attention = model.clip.vision_model.encoder.layers[1].self_attn
    with torch.no_grad():
        attention.v_proj.weight *= 1e7
        attention.v_proj.bias *= 1e7
        attention.out_proj.weight /= 1e7


def test_the_export_finds_the_nodes_that_overflow(overflowing: tuple[Path, str]) -> None:
    folder, output = overflowing
    assert "fp16 image_encoder: relative error inf; looking for the nodes that need float32" in output
    manifest = json.loads((folder / "automask.json").read_text(encoding="utf-8"))
    (kept,) = manifest["float32_nodes"]["fp16"].values()
    assert kept
    assert all(LAYER in name for name in kept), kept
    assert kept[0] in output
    assert manifest["parity"]["figures"]["fp16 image_encoder: relative error"] < 0.02
    assert automask.load(folder, device="cpu", precision="fp16").precision == "fp16"


def test_only_what_needs_it_is_float32(overflowing: tuple[Path, str]) -> None:
    """The graph is typed: no option of a provider decides what runs in float16."""
    graph = onnx.load(overflowing[0] / "image_encoder.fp16.onnx").graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    types = {
        node.name: {weights[name].data_type for name in node.input if name in weights}
        for node in graph.node
        if node.op_type in {"MatMul", "Gemm"}
    }
    exact = [name for name, found in types.items() if TensorProto.FLOAT in found]
    assert exact
    assert all(LAYER in name for name in exact)
    assert sum(found == {TensorProto.FLOAT16} for found in types.values()) > 5 * len(exact)


def _scaled(factor: float) -> tuple[onnx.ModelProto, Array, Array]:
    """Return ``x w1 · factor · 2 / factor w2``, an input and its output."""
    random = np.random.default_rng(0)
    tensors = {"w1": random.normal(size=(8, 8)), "factor": factor, "w2": random.normal(size=(8, 8))}
    steps = [("MatMul", "x", "w1"), ("Mul", "a", "factor"), ("Add", "a.half", "a.half"), ("Div", "c", "factor")]
    steps.append(("MatMul", "d", "w2"))
    nodes = [
        helper.make_node(kind, inputs, [name], name=f"{kind}_{name}")
        for (kind, *inputs), name in zip(steps, ("a", "a.half", "c", "d", "y"), strict=True)
    ]
    shapes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8]) for name in "xy"]
    constants = [numpy_helper.from_array(np.asarray(one, np.float32), name) for name, one in tensors.items()]
    graph = helper.make_graph(nodes, "scaled", shapes[:1], shapes[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    x = random.normal(size=(1, 8)).astype(np.float32)
    return model, x, np.asarray(x @ np.asarray(tensors["w1"]) * 2 @ np.asarray(tensors["w2"]), np.float32)


def test_bisection_finds_exactly_the_nodes_between_which_a_value_overflows() -> None:
    model, x, y = _scaled(3e5)
    nodes = Float32Nodes(model, [({"x": x}, {"y": y})])
    assert nodes.error([]) == np.inf
    found, error = nodes.search(0.02)
    assert found == ["Mul_a.half", "Add_c", "Div_d"]
    assert error < 0.002
    assert Float32Nodes(*(_scaled(3.0)[0], [({"x": x}, {"y": y})])).search(0.02)[0] == []


def test_the_cpu_rounds_as_a_gpu_does(tmp_path: Path) -> None:
    """ONNX Runtime alone computes the float16 graph in float32, and does not notice that it overflows."""
    model, x, y = _scaled(3e5)
    onnx.save(convert(model), tmp_path / "graph.fp16.onnx")
    (hidden,) = Session(tmp_path / "graph.fp16.onnx", "cpu").run(x=x)
    np.testing.assert_allclose(hidden, y, atol=0.1)
    (found,) = open_on_cpu(tmp_path / "graph.fp16.onnx", "fp16").run(x=x)
    assert not np.isfinite(found).all()


def test_an_emulated_graph_computes_what_numpy_does_in_float16() -> None:
    model, x, _ = _scaled(3.0)
    weights = {one.name: numpy_helper.to_array(one).astype(np.float16) for one in model.graph.initializer}
    inner = (x.astype(np.float16).astype(np.float32) @ weights["w1"].astype(np.float32)).astype(np.float16)
    scaled = inner * weights["factor"]
    outer = (scaled + scaled) / weights["factor"]
    expected = (outer.astype(np.float32) @ weights["w2"].astype(np.float32)).astype(np.float16)
    nodes = Float32Nodes(model, [({"x": x}, {"y": expected})])
    assert nodes.error([]) < 1e-4
    assert len(convertible(model)) == 5
    kinds = {one.data_type for one in emulate(convert(model)).graph.initializer}
    assert kinds == {TensorProto.FLOAT}


def test_one_opened_graph_computes_what_each_choice_of_nodes_does() -> None:
    model, x, y = _scaled(300.0)
    graph = SwitchedGraph(model, [node.name for node in convertible(model)])
    for float32_nodes in ([], ["Mul_a.half", "Add_c", "Div_d"], [node.name for node in model.graph.node]):
        chosen = {node.name for node in model.graph.node} - set(float32_nodes)
        (found,) = graph.run(chosen, {"x": x})
        expected = Float32Nodes(model, [({"x": x}, {"y": found})])
        assert expected.error(float32_nodes) < 1e-6
    np.testing.assert_allclose(found, y, atol=1e-3)
