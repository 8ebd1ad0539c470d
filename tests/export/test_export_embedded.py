"""The committed default bundle, and the command that makes it.

The first part always runs: manifest, hashes, size, the graphs' inputs and outputs, and both variants of each graph on
one image. The second part rebuilds the bundle and compares it with the committed one: graphs by their outputs, because
their bytes depend on the processor, everything else exactly. It takes minutes and the sources; `.ci/run` sets it up::

    pip install 'automask[cpu,export]'
    AUTOMASK_EXPORT_SOURCES=FOLDER python -m pytest tests/export/test_export_embedded.py

FOLDER holds the source files (see `export/architectures/embedded/sources.py`); missing ones are downloaded to it.
"""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import automask
from automask import publish
from automask.bundle import open_bundle
from automask.export import figures

ort = pytest.importorskip("onnxruntime")

BUNDLE = Path(automask.__file__).parent / "bundles" / "default"
MANIFEST: dict[str, Any] = json.loads((BUNDLE / "automask.json").read_text(encoding="utf-8"))
UNLISTED = {"automask.json", "MODEL_CARD.md"}
GRAPHS = [
    pytest.param(role, file, id=file)
    for role, graph in MANIFEST["graphs"].items()
    for file in graph["variants"].values()
]

Array = NDArray[np.float32]


def session(path: Path) -> Any:
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def image(size: int, batch: int = 1) -> Array:
    """A smooth image, already normalised."""
    y, x = np.mgrid[:size, :size] / size
    planes = [np.sin(9 * x + 2 * y), np.cos(7 * y - 3 * x), np.sin(11 * x * y) + (x > y)]
    return np.tile(np.stack(planes).astype(np.float32), (batch, 1, 1, 1))


def boxes(count: int) -> Array:
    corners = np.random.default_rng(count).uniform(0, 512, (count, 2, 2))
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).astype(np.float32)


def embedding() -> Array:
    return (np.random.default_rng(0).standard_normal((1, 256, 32, 32)) * 0.1).astype(np.float32)


def prompts(count: int) -> dict[str, NDArray[Any]]:
    """Boxes, as the decoder takes them."""
    return {"points": boxes(count).reshape(-1, 2, 2), "labels": np.tile(np.array([2, 3], np.int64), (count, 1))}


FEEDS: dict[str, dict[str, NDArray[Any]]] = {
    "detector": {"image": image(416)},
    "image_encoder": {"image": image(512)},
    "mask_decoder": {"image_embedding": embedding(), **prompts(3)},
}


def run(role: str, path: Path) -> list[Array]:
    return list(session(path).run(None, FEEDS[role]))


def cosine(a: Array, b: Array) -> float:
    return float(a.ravel() @ b.ravel() / np.sqrt((a.ravel() @ a.ravel()) * (b.ravel() @ b.ravel())))


def test_the_manifest_lists_every_file() -> None:
    bundle = open_bundle(BUNDLE)  # checks the schema and every hash
    assert set(bundle.files) == {path.name for path in BUNDLE.iterdir()} - UNLISTED
    assert set(bundle.graphs) == {"detector", "image_encoder", "mask_decoder"}
    assert bundle.size <= 25e6


def test_no_file_contains_a_path_of_the_machine() -> None:
    for path in BUNDLE.iterdir():
        content = path.read_bytes()
        assert b"/tmp/" not in content
        assert b"/home/" not in content


def test_the_model_card_names_every_source_file_and_hash() -> None:
    card = (BUNDLE / "MODEL_CARD.md").read_text(encoding="utf-8")
    for source in MANIFEST["sources"]:
        assert source["sha256"] in card
        assert source["file"] in card
    for digest in MANIFEST["files"].values():
        assert digest in card


@pytest.mark.parametrize(("role", "file"), GRAPHS)
def test_inputs_and_outputs_match_the_manifest(role: str, file: str) -> None:
    graph, loaded = MANIFEST["graphs"][role], session(BUNDLE / file)
    for side, tensors in (("inputs", loaded.get_inputs()), ("outputs", loaded.get_outputs())):
        assert {t.name: t.shape for t in tensors} == {n: t["shape"] for n, t in graph[side].items()}
        types = {"tensor(float)": "float32", "tensor(int64)": "int64"}
        assert {t.name: types[t.type] for t in tensors} == {n: t["dtype"] for n, t in graph[side].items()}


@pytest.mark.parametrize(("role", "file"), GRAPHS)
def test_outputs_are_finite_and_have_the_shapes_of_the_manifest(role: str, file: str) -> None:
    outputs = MANIFEST["graphs"][role]["outputs"].values()
    lengths = {"batch": 1, "prompts": 3}
    for found, described in zip(run(role, BUNDLE / file), outputs, strict=True):
        assert found.shape == tuple(lengths.get(n, n) for n in described["shape"])
        assert np.isfinite(found).all()


@pytest.mark.parametrize(("role", "file"), [p for p in GRAPHS if "decoder" not in str(p.id)])
def test_images_of_a_batch_are_independent(role: str, file: str) -> None:
    size = FEEDS[role]["image"].shape[-1]
    pair = image(size, batch=2)
    pair[1] = pair[1, :, ::-1]
    loaded = session(BUNDLE / file)
    together = loaded.run(None, {"image": pair})[0]
    alone = loaded.run(None, {"image": pair[1:]})[0]
    # The integer variant quantises its activations by their range over the whole batch.
    assert cosine(together[1:], alone) > 0.998


@pytest.mark.parametrize("file", MANIFEST["graphs"]["mask_decoder"]["variants"].values())
@pytest.mark.parametrize("count", [1, 2, 7])
def test_boxes_of_one_call_are_independent(file: str, count: int) -> None:
    loaded, feed = session(BUNDLE / file), {"image_embedding": embedding()}
    together = loaded.run(None, feed | prompts(count))[0]
    alone = loaded.run(None, feed | {name: array[-1:] for name, array in prompts(count).items()})[0]
    assert ((together[-1:] > 0) == (alone > 0)).mean() > 0.98


@pytest.mark.parametrize("file", [file for file in MANIFEST["files"] if file.endswith(".onnx")])
def test_loading_folds_the_conversion_of_weights(file: str, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    ort.InferenceSession(str(BUNDLE / file), options, providers=["CPUExecutionProvider"])
    left = {node.op_type for node in onnx.load(tmp_path / "optimised.onnx", load_external_data=False).graph.node}
    assert not left & {"Cast", "DequantizeLinear"}


@pytest.mark.parametrize("file", MANIFEST["graphs"]["mask_decoder"]["variants"].values())
@pytest.mark.parametrize("clicks", [1, 2, 5])
def test_prompts_of_points_are_independent(file: str, clicks: int) -> None:
    points = np.random.default_rng(clicks).uniform(0, 512, (3, clicks + 1, 2)).astype(np.float32)
    feed: dict[str, NDArray[Any]] = {
        "points": points,
        "labels": np.tile(np.array([1] * clicks + [-1], np.int64), (3, 1)),
    }
    loaded = session(BUNDLE / file)
    together = loaded.run(None, feed | {"image_embedding": embedding()})[0]
    alone = loaded.run(None, {name: array[-1:] for name, array in feed.items()} | {"image_embedding": embedding()})[0]
    assert ((together[-1:] > 0) == (alone > 0)).mean() > 0.98


def test_the_variants_of_the_image_encoder_agree() -> None:
    exact, integer = (run("image_encoder", BUNDLE / f"image_encoder{v}.onnx")[0] for v in ("", ".int8"))
    assert cosine(exact, integer) > 0.997


def test_the_variants_of_the_mask_decoder_agree() -> None:
    exact, integer = (run("mask_decoder", BUNDLE / f"mask_decoder{v}.onnx") for v in ("", ".int8"))
    assert ((exact[0] > 0) == (integer[0] > 0)).mean() > 0.98
    assert exact[1] == pytest.approx(integer[1], abs=0.05)


def test_an_existing_folder_is_replaced_only_with_force(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(publish.OutputError, match="is no bundle"):
        publish.check_output(tmp_path, force=True)
    (tmp_path / "automask.json").write_text("{}")
    with pytest.raises(publish.OutputError, match="--force"):
        publish.check_output(tmp_path, force=False)
    publish.check_output(tmp_path, force=True)
    publish.check_output(tmp_path / "new", force=False)


def test_a_figure_beyond_its_limit_is_an_error() -> None:
    good = figures.Figure("a", 0.9991234, 0.99, at_least=True)
    assert figures.check([good]) == {"a": 0.9991}
    with pytest.raises(figures.ParityError, match="b must be at most 0.1, got 0.2"):
        figures.check([good, figures.Figure("b", 0.2, 0.1)])
    with pytest.raises(figures.ParityError, match="got nan"):
        figures.check([figures.Figure("c", float("nan"), 0.1)])


def test_a_source_file_with_another_hash_is_an_error(tmp_path: Path) -> None:
    from automask.export import registries
    from automask.export.architectures.embedded import sources

    (tmp_path / "model.pdmodel").write_bytes(b"something else")
    with pytest.raises(
        registries.SourceError, match=r"model\.pdmodel .* expected SHA-256 da078fd.*, found [0-9a-f]{64}"
    ):
        registries.fetch_file(sources.SOURCES[0], tmp_path)


@pytest.fixture(scope="session")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle, rebuilt by the real command."""
    from click.testing import CliRunner

    folder = os.environ.get("AUTOMASK_EXPORT_SOURCES")
    missing = [name for name in ("torch", "onnx", "onnxslim") if importlib.util.find_spec(name) is None]
    if not folder or missing:
        pytest.skip("set AUTOMASK_EXPORT_SOURCES and install automask[export]; see this file's docstring")
    from automask.export.cli import export

    output = tmp_path_factory.mktemp("export") / "default"
    result = CliRunner().invoke(export, ["embedded", "--output", str(output), "--sources", folder])
    assert result.exit_code == 0, result.output
    return output


@pytest.mark.parametrize(("role", "file"), GRAPHS)
def test_a_rebuilt_graph_equals_the_committed_one(rebuilt: Path, role: str, file: str) -> None:
    for ours, theirs in zip(run(role, rebuilt / file), run(role, BUNDLE / file), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_rebuilt_vocabulary_equals_the_committed_one(rebuilt: Path) -> None:
    name = MANIFEST["text"]["file"]
    assert (rebuilt / name).read_bytes() == (BUNDLE / name).read_bytes()


def test_the_rebuilt_manifest_equals_the_committed_one(rebuilt: Path) -> None:
    ours = json.loads((rebuilt / "automask.json").read_text(encoding="utf-8"))
    for measured in ("files", "parity", "exported_with"):
        assert list(ours.pop(measured)) == list(MANIFEST[measured])
    assert ours == {key: MANIFEST[key] for key in ours}
    assert list(ours) == [key for key in MANIFEST if key in ours]


def test_the_rebuilt_model_card_equals_the_committed_one_but_for_figures(rebuilt: Path) -> None:
    ours, theirs = ((folder / "MODEL_CARD.md").read_text(encoding="utf-8").splitlines() for folder in (rebuilt, BUNDLE))
    assert [line for line in ours if not line.startswith("| ")] == [
        line for line in theirs if not line.startswith("| ")
    ]
