"""`automask pull` of ready-made graphs: from a local Hub to masks, compared with transformers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from skimage import data
from transformers import CLIPTokenizerFast, GroundingDinoProcessor, OwlViTProcessor, ViTImageProcessor

import automask
from automask.bundle import open_bundle, sha256
from automask.cli import main
from automask.proof import read_proof
from support.hub import COMMIT, repository, serve
from support.pulling import names, pull, run
from support.ready_made import write_clipseg, write_grounding_dino, write_owlvit

Array = NDArray[Any]


@dataclass(frozen=True)
class Pulled:
    """A network, its repository, the bundle in fp32 and int8, and the output of the command."""

    network: Any
    source: Path
    folder: Path
    output: str


@pytest.fixture
def bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's bundle folder, which does not exist yet."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "automask" / "bundles"


def pull_all(folder: Path, network: Any, named: str, hub_id: str) -> Pulled:
    """Pull the repository in ``source`` from a local Hub, in both precisions, in a process without torch."""
    with pytest.MonkeyPatch.context() as patch, serve(repository(folder / "source", hub_id)) as endpoint:
        patch.setenv("XDG_DATA_HOME", str(folder))
        status, output = run(folder, endpoint, named, "--precision", "fp32", "--precision", "int8")
    assert status == 0, output
    return Pulled(network, folder / "source", folder / "automask" / "bundles" / named, output)


@pytest.fixture(scope="module")
def photo() -> Array:
    return np.asarray(data.coffee(), np.uint8)


# CLIPSeg

PROMPTS = ["the cup", "a cat on the left", "THE CUP", "猫 🐈", "on", "cup!", "the cat " * 60]


@pytest.fixture(scope="module")
def clipseg(tmp_path_factory: pytest.TempPathFactory) -> Pulled:
    folder = tmp_path_factory.mktemp("clipseg")
    return pull_all(folder, write_clipseg(folder / "source"), "clipseg", "Xenova/clipseg-rd64-refined")


def in_transformers(pulled: Pulled, photo: Array, prompt: str) -> Array:
    """The score map as transformers' own processor and network make it, in torch."""
    text = CLIPTokenizerFast.from_pretrained(pulled.source)([prompt], return_tensors="pt", truncation=True)
    image = ViTImageProcessor.from_pretrained(pulled.source)(photo, return_tensors="pt")
    with torch.inference_mode():
        scores = pulled.network(**text, **image).logits.sigmoid().reshape(1, 1, 64, 64)
        resized = torch.nn.functional.interpolate(scores, photo.shape[:2], mode="bilinear")
    found: Array = resized[0, 0].numpy()
    return found


def test_clipseg_scores_are_those_of_transformers(clipseg: Pulled, photo: Array) -> None:
    segmenter = automask.load(clipseg.folder, device="cpu", precision="fp32")
    results = [segmenter.mask(photo, prompt) for prompt in PROMPTS]
    for prompt, result in zip(PROMPTS, results, strict=True):
        assert result.score_map is not None
        np.testing.assert_allclose(result.score_map, in_transformers(clipseg, photo, prompt), atol=1e-4)
    assert results[-1].dropped


def test_clipseg_caches_results_by_image_and_prompt(clipseg: Pulled, photo: Array) -> None:
    segmenter = automask.load(clipseg.folder, device="cpu")
    first = segmenter.mask(photo, "the cup")
    misses = segmenter.cache_info().misses
    again = segmenter.mask(photo, "the cup", threshold=0.4)
    assert segmenter.cache_info().misses == misses
    assert first.score_map is not None
    assert again.score_map is not None
    np.testing.assert_array_equal(first.score_map, again.score_map)


def test_what_was_pulled_is_written_down_and_random_weights_are_warned_of(clipseg: Pulled) -> None:
    bundle = open_bundle(clipseg.folder)
    assert (bundle.name, bundle.family, bundle.precisions) == ("clipseg", "dense", ("fp32", "int8"))
    assert bundle.licence.startswith("apache-2.0 by the card of CIDAS/clipseg-rd64-refined")
    assert bundle.sources == tuple(
        {
            "what": "the pulled repository",
            "package": "Xenova/clipseg-rd64-refined",
            "version": COMMIT,
            "licence": bundle.licence,
            "file": file,
            "sha256": sha256(clipseg.source / file),
        }
        for file in ("onnx/model.onnx", "onnx/model_quantized.onnx")
    )
    assert f"licence: {bundle.licence}" in clipseg.output
    assert "WARNING: makes no sense" in clipseg.output


def test_without_a_choice_int8_is_pulled(clipseg: Pulled, bundles: Path) -> None:
    status, output = pull("someone/mine", "--from", clipseg.source)
    assert status == 0, output
    bundle = open_bundle(bundles / "mine")
    assert (bundle.precisions, bundle.licence) == (("int8",), "unknown")
    proof = read_proof(bundle)
    assert proof is not None
    assert proof.differences == {}
    ran = CliRunner().invoke(main, ["prove", "--model", "mine", "--device", "cpu"])
    assert (ran.exit_code, "mine on cpu in int8: right" in ran.output) == (0, True), ran.output


def test_what_was_pulled_is_proven(clipseg: Pulled, owlvit: Pulled) -> None:
    for pulled, graphs in ((clipseg, {"segmenter"}), (owlvit, {"detector", "image_encoder", "mask_decoder"})):
        proof = read_proof(open_bundle(pulled.folder))
        assert proof is not None
        assert (set(proof.graphs), set(proof.differences)) == (graphs, {"int8"})
        assert "proof: what the graphs make of a photo" in pulled.output
        for precision in ("fp32", "int8"):
            assert automask.load(pulled.folder, device="cpu", precision=precision).standing == "proven"


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def resize(folder: Path, height: int, **width: int) -> None:
    edit(folder / "preprocessor_config.json", size={"height": height, **width})


def rename(path: Path, kind: str) -> None:
    """Rename the first input or output of a graph."""
    model = onnx.load(path)
    first = getattr(model.graph, kind)[0]
    for node in model.graph.node:
        for side in (node.input, node.output):
            side[:] = ["other" if name == first.name else name for name in side]
    first.name = "other"
    onnx.save(model, path)


GRAPH = "onnx/model_quantized.onnx"


@pytest.mark.parametrize(
    ("break_it", "options", "message"),
    [
        (lambda f: (f / "tokenizer.json").unlink(), [], "must have tokenizer.json, it has "),
        (lambda f: (f / "tokenizer.json").write_text("{"), [], "tokenizer.json is no tokenizer"),
        (lambda f: (f / GRAPH).write_bytes((f / GRAPH).read_bytes()[:9999]), [], f"cannot open {GRAPH} of "),
        (
            lambda f: rename(f / GRAPH, "input"),
            [],
            "must have the inputs attention_mask, input_ids, ",
        ),
        (lambda f: rename(f / GRAPH, "output"), [], "must have the output 'logits', has other"),
        (
            lambda f: resize(f, 32, width=32),
            [],
            "must be [any, 3, 32, 32]",
        ),
        (lambda f: resize(f, 32), [], "has the input 'pixel_values'"),
        (lambda f: resize(f, 32, width=64), [], "cannot be read"),
        (lambda f: edit(f / "config.json", model_type="bert"), [], "is of architecture 'bert'; ready-made models "),
        (lambda f: shutil.rmtree(f / "onnx"), [], "has no graphs: it must hold one of onnx/model_quantized.onnx"),
        (lambda _: None, ["--precision", "fp16"], "--precision must be one of int8, fp32, which "),
    ],
)
def test_bad_repositories_leave_nothing(
    break_it: Callable[[Path], object], options: list[str], message: str, clipseg: Pulled, bundles: Path, tmp_path: Path
) -> None:
    shutil.copytree(clipseg.source, tmp_path / "source")
    break_it(tmp_path / "source")
    status, output = pull("clipseg", "--from", tmp_path / "source", *options)
    assert (status, names(bundles)) == (1, [])
    assert message in output.splitlines()[-1]
    assert str(bundles) not in output


# OWL-ViT

PHRASES = ["cup", "spoon", "cat on cup", "hat", "left cup", "tin", "cat"]
RAW = 0.1  # transformers' default threshold, which is the API's default of 0.2


@pytest.fixture(scope="module")
def owlvit(tmp_path_factory: pytest.TempPathFactory) -> Pulled:
    folder = tmp_path_factory.mktemp("owlvit")
    return pull_all(folder, write_owlvit(folder / "source"), "owlvit", "Xenova/owlvit-base-patch32")


@pytest.mark.parametrize("phrases", [PHRASES[:1], PHRASES[:2], PHRASES[::-1]])
def test_owlvit_objects_are_those_of_transformers(owlvit: Pulled, photo: Array, phrases: list[str]) -> None:
    processor = OwlViTProcessor.from_pretrained(owlvit.source)
    texts = [f"a photo of a {phrase}" for phrase in phrases]
    inputs = processor(text=[texts], images=photo, return_tensors="pt", input_data_format="channels_last")
    with torch.inference_mode():
        outputs = owlvit.network(**inputs)
    (expected,) = processor.post_process_grounded_object_detection(
        outputs, threshold=RAW, target_sizes=[photo.shape[:2]], text_labels=[phrases]
    )
    result = automask.load(owlvit.folder, device="cpu", precision="fp32").mask(photo, ", ".join(phrases), grow_mask=0)
    order = expected["scores"].argsort(descending=True)
    boxes = np.clip(expected["boxes"][order].numpy(), 0, [600, 400] * 2)
    inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    scores = np.interp(expected["scores"][order].numpy()[inside], [0, RAW, 1], [0, 0.2, 1])
    assert len(result.instances) == len(scores) > 0
    np.testing.assert_allclose([one.box for one in result.instances], boxes[inside], atol=0.01)
    np.testing.assert_allclose([one.score for one in result.instances], scores, atol=1e-5)
    labels = [expected["text_labels"][index] for index in order[torch.from_numpy(inside)].tolist()]
    assert [one.label for one in result.instances] == labels
    assert 0 < np.count_nonzero(result.mask) < result.mask.size


def test_owlvit_reads_all_phrases_in_one_run_and_caches_it(owlvit: Pulled, photo: Array) -> None:
    segmenter = automask.load(owlvit.folder, device="cpu")
    assert segmenter.mask(photo, "cup, the spoon", threshold=1).is_empty
    misses = segmenter.cache_info().misses
    assert segmenter.mask(photo, "cup, the spoon", threshold=1).is_empty
    assert segmenter.cache_info().misses == misses
    assert segmenter.mask(photo, " ".join(["hat"] * 30), threshold=1).dropped


def test_owlvit_has_the_licences_of_both_models(owlvit: Pulled) -> None:
    bundle = open_bundle(owlvit.folder)
    assert bundle.kinds == {"finder": "owl-whole", "drawer": "sam"}
    apache = "apache-2.0 by the card of google/owlvit-base-patch32"
    assert bundle.licence == f"owlvit: {apache}; mobile-sam: Apache-2.0"
    assert len({source["package"] for source in bundle.sources}) == 2
    assert "WARNING: makes no sense" in owlvit.output


# Grounding DINO

SIDE = 128


@pytest.fixture(scope="module")
def grounding_dino(tmp_path_factory: pytest.TempPathFactory) -> Pulled:
    folder = tmp_path_factory.mktemp("grounding-dino")
    network = write_grounding_dino(folder / "source", SIDE)
    return pull_all(folder, network, "grounding-dino-tiny", "onnx-community/grounding-dino-tiny-ONNX")


def found_for_a_phrase(pulled: Pulled, image: Array, phrase: str) -> tuple[Array, Array]:
    """Boxes and calibrated scores of one phrase in transformers, best first; the image is fitted into the square."""
    processor = GroundingDinoProcessor.from_pretrained(pulled.source)
    height, width = (round(side * SIDE / max(image.shape[:2])) for side in image.shape[:2])
    square = {"size": {"height": height, "width": width}, "pad_size": {"height": SIDE, "width": SIDE}}
    inputs = processor(images=image, text=[[phrase]], return_tensors="pt", input_data_format="channels_last", **square)
    with torch.inference_mode():
        outputs = pulled.network(**inputs)
    (found,) = processor.post_process_grounded_object_detection(outputs, threshold=-1.0, target_sizes=[image.shape[:2]])
    words = outputs.logits[0, :, 1 : inputs["input_ids"].shape[1] - 2]
    scores = np.interp(words.sigmoid().amax(dim=1).numpy(), [0, 0.25, 1], [0, 0.2, 1])
    order = np.argsort(-scores, kind="stable")
    return np.clip(found["boxes"].numpy(), 0, [*image.shape[1::-1]] * 2)[order], scores[order]


@pytest.mark.parametrize("size", [(90, 120), (200, 60)])
def test_grounding_dino_finds_each_phrase_as_transformers_does_alone(
    grounding_dino: Pulled, photo: Array, size: tuple[int, int]
) -> None:
    image, phrases = np.ascontiguousarray(photo[: size[0], : size[1]]), ["red cup", "a dog on the left", "b", "猫"]
    segmenter = automask.load(grounding_dino.folder, device="cpu", precision="fp32")
    results = segmenter.mask(image, phrases, threshold=0.1, return_mask=False)
    assert sum(len(result.instances) for result in results) > 10
    for phrase, result in zip(phrases, results, strict=True):
        boxes, scores = found_for_a_phrase(grounding_dino, image, phrase)
        count = int((scores >= 0.1).sum())
        np.testing.assert_allclose([one.score for one in result.instances], scores[:count], atol=2e-4)
        found = np.array([one.box for one in result.instances]).reshape(-1, 4)
        np.testing.assert_allclose(found, boxes[:count], atol=1e-3 * max(size))
        assert {one.label for one in result.instances} <= {phrase}
    misses = segmenter.cache_info().misses
    segmenter.mask(image, "red cup, b", threshold=0.3, return_mask=False)
    assert segmenter.cache_info().misses == misses  # both phrases are known on this photo


def test_the_bundle_of_grounding_dino(grounding_dino: Pulled) -> None:
    bundle = open_bundle(grounding_dino.folder)
    assert bundle.kinds == {"finder": "grounding-dino-whole", "drawer": "sam"}
    assert (bundle.image["detector"]["size"], bundle.text["max_length"]) == (SIDE, 256)
    assert "apache-2.0 by the card of IDEA-Research/grounding-dino-tiny" in bundle.licence
    assert automask.load(grounding_dino.folder, device="cpu", precision="int8").standing == "proven"


def swap_separators(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    words = content["model"]["vocab"]
    words["."], words["?"] = words["?"], words["."]
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")


def free_size(folder: Path) -> None:
    """Declare images of any size, as a converter may do for a graph that holds constants of one size."""
    model = onnx.load(folder / GRAPH)
    for tensor in model.graph.input:
        if tensor.name in {"pixel_values", "pixel_mask"}:
            for axis in tensor.type.tensor_type.shape.dim[-2:]:
                axis.dim_param = "side"
    onnx.save(model, folder / GRAPH)
    edit(folder / "preprocessor_config.json", size={"shortest_edge": SIDE // 2, "longest_edge": SIDE})


@pytest.mark.parametrize(
    ("break_it", "message"),
    [(swap_separators, "must have the ids {'[UNK]': 100, "), (free_size, "fails on a photo: ")],
)
def test_bad_repositories_of_grounding_dino_leave_nothing(
    break_it: Callable[[Path], object], message: str, grounding_dino: Pulled, bundles: Path, tmp_path: Path
) -> None:
    shutil.copytree(grounding_dino.source, tmp_path / "source")
    break_it(tmp_path / "source")
    status, output = pull("grounding-dino-tiny", "--from", tmp_path / "source")
    assert (status, names(bundles)) == (1, []), output
    assert message in output.splitlines()[-1]
