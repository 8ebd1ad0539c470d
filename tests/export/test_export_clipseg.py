"""Bundles of `automask export clipseg`: the contract of the graphs, and their parity with the checkpoint.

The checkpoints have random weights; the command is the real one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import CLIPSegForImageSegmentation, CLIPTokenizerFast, ViTImageProcessor

import automask
from automask.bundle import open_bundle, sha256
from automask.export.checkpoint import find
from automask.schema import manifest_schema
from support.clip_vocabulary import MERGES
from support.clipseg_checkpoints import (
    PRECISIONS,
    Tiny,
    checkpoint,
    clip_merges,
    run_command,
    tiny_bundle,
    tiny_config,
)

Array = NDArray[Any]

ROLES = ("image_encoder", "text_encoder", "mask_decoder")
PROMPTS = ["a cat", "the cup on the left", "", "the cat " * 60, "猫 🐈", "THE CUP", "on"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny_bundle(tmp_path_factory.getbasetemp())


def manifest(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "automask.json").read_text(encoding="utf-8"))
    jsonschema.validate(content, manifest_schema())
    return content


def session(path: Path) -> Any:
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def logits(folder: Path, pixels: Array, prompts: list[str], precision: str = "fp32") -> Array:
    """Run a bundle with tokenizers and ONNX Runtime alone."""
    bundle = open_bundle(folder)
    graphs = {role: session(folder / graph.choose([precision])) for role, graph in bundle.graphs.items()}
    words = Tokenizer.from_file(str(folder / bundle.text["file"])).encode_batch(prompts)
    tokens = {
        "input_ids": np.array([w.ids for w in words]),
        "attention_mask": np.array([w.attention_mask for w in words]),
    }
    activations = graphs["image_encoder"].run(None, {"pixel_values": pixels})
    feed = {f"activation_{i}": a for i, a in enumerate(activations)}
    feed["conditional_embedding"] = graphs["text_encoder"].run(None, tokens)[0]
    found: Array = graphs["mask_decoder"].run(None, feed)[0]
    return found


def reference(model: CLIPSegForImageSegmentation, source: Path, pixels: Array, prompts: list[str]) -> Array:
    tokenizer = CLIPTokenizerFast.from_pretrained(source)
    tokens = tokenizer(prompts, padding=True, truncation=True, return_tensors="pt")
    images = torch.from_numpy(np.broadcast_to(pixels, (len(prompts), *pixels.shape[1:])).copy())
    with torch.inference_mode():
        found: Array = model(**tokens, pixel_values=images).logits.reshape(len(prompts), *pixels.shape[2:]).numpy()
    return found


def pixel_values(size: int, batch: int = 1) -> Array:
    return np.random.default_rng(batch).standard_normal((batch, 3, size, size)).astype(np.float32)


# The bundle


def test_the_bundle_opens_and_lists_every_file(tiny: Tiny) -> None:
    bundle = open_bundle(tiny.folder)  # checks the schema and every hash
    assert (bundle.name, bundle.family, bundle.calibration) == ("fine-tune", "dense", ((0, 0), (1, 1)))
    assert set(bundle.files) == {path.name for path in tiny.folder.iterdir()} - {"automask.json", "MODEL_CARD.md"}
    assert {"config.json", "preprocessor_config.json", "tokenizer.json"} <= set(bundle.files)
    assert {role: set(graph.variants) for role, graph in bundle.graphs.items()} == {
        "image_encoder": {"fp32", "int8", "fp16"},
        "text_encoder": {"fp32", "int8", "fp16"},
        "mask_decoder": {"fp32", "fp16"},
    }


def test_no_file_contains_a_path_of_the_machine(tiny: Tiny) -> None:
    for path in tiny.folder.iterdir():
        assert os.fsencode(tiny.source.parent) not in path.read_bytes()
        assert b"site-packages" not in path.read_bytes()


@pytest.mark.parametrize(
    ("role", "precision"),
    [(role, precision) for role in ROLES for precision in PRECISIONS if (role, precision) != ("mask_decoder", "int8")],
)
def test_graphs_keep_their_contract(tiny: Tiny, role: str, precision: str) -> None:
    described = manifest(tiny.folder)["graphs"][role]
    path = tiny.folder / described["variants"][precision]
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert {o.domain: o.version for o in model.opset_import}[""] == 17
    for side, tensors in (("inputs", session(path).get_inputs()), ("outputs", session(path).get_outputs())):
        assert [t.name for t in tensors] == list(described[side])
        assert [t.shape for t in tensors] == [t["shape"] for t in described[side].values()]
        assert [t.type for t in tensors] == [
            {"float32": "tensor(float)", "int64": "tensor(int64)"}[t["dtype"]] for t in described[side].values()
        ]


def test_names_and_shapes_are_those_that_the_runtime_reads(tiny: Tiny) -> None:
    graphs = manifest(tiny.folder)["graphs"]
    shapes = {r: {n: t["shape"] for s in ("inputs", "outputs") for n, t in g[s].items()} for r, g in graphs.items()}
    activations = {f"activation_{i}": ["batch", 37, 32] for i in range(3)}
    assert shapes == {
        "image_encoder": {"pixel_values": ["batch", 3, 96, 96], **activations},
        "text_encoder": {
            "input_ids": ["prompts", "length"],
            "attention_mask": ["prompts", "length"],
            "conditional_embedding": ["prompts", 24],
        },
        "mask_decoder": {**activations, "conditional_embedding": ["prompts", 24], "logits": ["prompts", 96, 96]},
    }


def test_unused_layers_are_not_exported(tiny: Tiny) -> None:
    # The decoder reads layers 1, 2 and 4 of five; equal biases are stored once.
    graph = onnx.load(tiny.folder / "image_encoder.onnx").graph
    assert [node.op_type for node in graph.node].count("Softmax") == 4
    vision = tiny.model.clip.vision_model
    read = [vision.embeddings, vision.pre_layrnorm, *vision.encoder.layers[:4]]
    positions = (37 - 17) * 32 * 4  # interpolated to 96 x 96 from 64 x 64
    weights = sum(p.nbytes for part in read for p in part.parameters()) + positions
    assert 0.95 * weights < sum(len(t.raw_data) for t in graph.initializer) < 1.01 * weights


def test_the_preprocessing_is_that_of_the_checkpoint(tiny: Tiny) -> None:
    settings = manifest(tiny.folder)["image"]["image_encoder"]
    assert (settings["size"], settings["resize"], settings["interpolation"]) == (96, "stretch", "pillow_bilinear")
    np.testing.assert_allclose([*settings["mean"], *settings["std"]], [127.5] * 6)
    assert ViTImageProcessor.from_pretrained(tiny.folder).size == {"height": 96, "width": 96}


# Parity


@pytest.mark.parametrize("count", range(1, 8))
def test_one_image_and_any_number_of_prompts(tiny: Tiny, count: int) -> None:
    pixels = pixel_values(96)
    expected = reference(tiny.model, tiny.source, pixels, PROMPTS[:count])
    np.testing.assert_allclose(logits(tiny.folder, pixels, PROMPTS[:count]), expected, atol=1e-4)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_as_many_images_as_prompts(tiny: Tiny, count: int) -> None:
    pixels = pixel_values(96, count)
    expected = reference(tiny.model, tiny.source, pixels, PROMPTS[:count])
    np.testing.assert_allclose(logits(tiny.folder, pixels, PROMPTS[:count]), expected, atol=1e-4)


def test_prompts_of_one_call_are_independent(tiny: Tiny) -> None:
    pixels = pixel_values(96)
    together = logits(tiny.folder, pixels, PROMPTS)
    for prompt, found in zip(PROMPTS, together, strict=True):
        np.testing.assert_allclose(logits(tiny.folder, pixels, [prompt])[0], found, atol=1e-4)


@pytest.mark.parametrize(("precision", "tolerance"), [("int8", 0.2), ("fp16", 0.01)])
def test_other_precisions_are_close_to_float32(tiny: Tiny, precision: str, tolerance: float) -> None:
    pixels = pixel_values(96)
    exact = logits(tiny.folder, pixels, PROMPTS)
    found = logits(tiny.folder, pixels, PROMPTS, precision)
    assert 0 < np.linalg.norm(found - exact) / np.linalg.norm(exact - exact.mean()) < tolerance


@pytest.mark.usefixtures("own_memory")
def test_activations_stay_on_a_device_with_its_own_memory(tiny: Tiny) -> None:
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)  # as the model takes it
    devices: Any = ("cpu", "new")
    here, there = (automask.load(tiny.folder, device=name, precision="fp32", prove=False) for name in devices)
    for expected, found in zip(*(one.mask(image, PROMPTS[:2]) for one in (here, there)), strict=True):
        np.testing.assert_array_equal(found.score_map, expected.score_map)
    assert there.cache_info().gpu_bytes > 0


def test_the_figures_are_printed_and_stored(tiny: Tiny) -> None:
    parity = manifest(tiny.folder)["parity"]
    assert parity["figures"]["fp32 end to end: largest difference of logits"] <= 1e-3
    for name in parity["figures"]:
        assert name in tiny.output
    assert set(parity["judged_by"]) == set(PRECISIONS)
    assert parity["threshold"] == 0.2


@pytest.mark.parametrize(
    ("changes", "size", "options"),
    [
        pytest.param({}, 96, ["--image-size", "160"], id="another size than the checkpoint's"),
        pytest.param({}, 64, [], id="the size of the position embeddings"),
        pytest.param({"projection_dim": 37, "reduce_dim": 8}, 48, [], id="odd sizes"),
        pytest.param({"text_config": {"eos_token_id": 2}}, 64, [], id="the old end token"),
        pytest.param(
            {"use_complex_transposed_convolution": False, "vision_config": {"patch_size": 8}},
            64,
            [],
            id="plain decoder",
        ),
        pytest.param({"extract_layers": [2, 0, 1], "conditional_layer": 2}, 64, [], id="layers in another order"),
    ],
)
def test_other_checkpoints(changes: dict[str, Any], size: int, options: list[str], tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "checkpoint", tiny_config(**changes), size=size, gain=20.0, shard="60KB")
    assert len(list((tmp_path / "checkpoint").glob("model-*.safetensors"))) > 2
    run_command(tmp_path / "checkpoint", tmp_path / "bundle", "--precision", "fp32", *options)
    pixels = pixel_values(int(options[1]) if options else size)
    expected = reference(model, tmp_path / "checkpoint", pixels, PROMPTS[:3])
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(logits(tmp_path / "bundle", pixels, PROMPTS[:3]), expected, atol=1e-4)


def test_optimized_graphs_compute_the_same(tiny: Tiny, tmp_path: Path) -> None:
    run_command(tiny.source, tmp_path / "bundle", "--optimize", *(f"--precision={p}" for p in PRECISIONS))
    pixels = pixel_values(96)
    found, expected = logits(tmp_path / "bundle", pixels, PROMPTS), logits(tiny.folder, pixels, PROMPTS)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    operators = {
        role: [n.op_type for n in onnx.load(tmp_path / "bundle" / f"{role}.onnx").graph.node] for role in ROLES
    }
    # The text encoder's attention has a mask and a dynamic number of tokens: it is not fused.
    assert {role: names.count("MultiHeadAttention") for role, names in operators.items()} == {
        "image_encoder": 4,
        "text_encoder": 0,
        "mask_decoder": 3,
    }


def test_int8_has_a_float32_decoder(tiny: Tiny, tmp_path: Path) -> None:
    run_command(tiny.source, tmp_path / "bundle", "--precision", "int8")
    files = {role: graph["variants"] for role, graph in manifest(tmp_path / "bundle")["graphs"].items()}
    assert files == {
        "image_encoder": {"int8": "image_encoder.int8.onnx"},
        "text_encoder": {"int8": "text_encoder.int8.onnx"},
        "mask_decoder": {"fp32": "mask_decoder.onnx"},
    }
    assert "fp32 mask_decoder: relative error" in manifest(tmp_path / "bundle")["parity"]["limits"]


def test_a_full_size_checkpoint(tmp_path: Path) -> None:
    """CIDAS' architecture with random weights. To be quick: float32 only, small images, a small net for the text."""
    words = {"eos_token_id": 2, "num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128}
    config = {"vision_config": {"patch_size": 16}, "text_config": words, "use_complex_transposed_convolution": True}
    merges = clip_merges() or MERGES
    checkpoint(tmp_path / "checkpoint", config, size=352, merges=merges)
    print(run_command(tmp_path / "checkpoint", tmp_path / "bundle", "--precision", "fp32", "--image-size", "96"))
    sizes = {role: (tmp_path / "bundle" / f"{role}.onnx").stat().st_size / 1e6 for role in ROLES}
    # 12 layers would be 344 MB; 10 are 287.
    assert 280 < sizes["image_encoder"] < 295
    assert sizes["mask_decoder"] < 6


# Sources


def test_the_sources_name_the_weights(tiny: Tiny) -> None:
    (source,) = open_bundle(tiny.folder).sources
    assert source == {
        "what": "the checkpoint",
        "package": "fine-tune",
        "version": "local folder",
        "licence": "unknown",
        "file": "model.safetensors",
        "sha256": sha256(tiny.source / "model.safetensors"),
    }
    assert find(str(tiny.source), revision=None, supported=["clipseg"]).name == "fine-tune"


def test_the_architecture_is_registered_with_optimum() -> None:
    from optimum.exporters.tasks import TasksManager

    assert "image-segmentation" in TasksManager.get_supported_tasks_for_model_type(
        "clipseg", "onnx", library_name="transformers"
    )
    assert (
        TasksManager.get_model_class_for_task("image-segmentation", model_type="clipseg") is CLIPSegForImageSegmentation
    )
