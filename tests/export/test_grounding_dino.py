"""Grounding DINO and MM-Grounding-DINO: bundles of the real command, beside transformers' processor and model.

The checkpoints have random weights.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from transformers import GroundingDinoProcessor

import automask
from automask.bundle import open_bundle
from automask.errors import AutomaskError, BundleError, ParameterError
from automask.export.architectures.grounding_dino.modules import level_shapes
from automask.export.cli import export
from automask.families.finders.overlap import overlaps
from automask.session import Session
from support.bert_vocabulary import bert_tokenizer, text_settings
from support.grounding_dino_checkpoints import KINDS, checkpoint, tiny_config

Array = NDArray[Any]
Pixels = NDArray[np.uint8]

SIZE = 128
PHRASES = ("red cup", "a dog on the left", "the cat", "猫", "b", "dog's red cup", "Red Dog!")
one_kind = pytest.mark.parametrize("tiny", ["grounding-dino"], indirect=True)  # where both have the same code
CALIBRATION = ([0, 0.25, 1], [0, 0.2, 1])


@dataclass(frozen=True)
class Tiny:
    """A checkpoint, the network that was saved, and its bundle."""

    network: Any
    source: Path
    folder: Path
    output: str


def run_command(source: Path, output: Path, *options: str) -> str:
    """Run the real command in this process; raise its error, or return its output."""
    arguments = [str(source), "-o", str(output), "--image-size", str(SIZE), *options]
    result = CliRunner().invoke(export, arguments)
    if result.exception is not None:
        raise result.exception
    return result.output


@pytest.fixture(scope="module", params=[*KINDS])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = tmp_path_factory.mktemp(request.param)
    network = checkpoint(folder / "fine-tune", request.param, tiny_config())
    (folder / "fine-tune" / "README.md").write_text("---\nlicense: apache-2.0\n---\n", encoding="utf-8")
    precisions = ["fp32", "int8", "fp16"] if request.param == "grounding-dino" else ["fp32"]
    options = [f"--precision={precision}" for precision in precisions]
    output = run_command(folder / "fine-tune", folder / "bundle", *options)
    return Tiny(network, folder / "fine-tune", folder / "bundle", output)


@pytest.fixture
def segmenter(tiny: Tiny) -> automask.Segmenter:
    return automask.load(tiny.folder, device="cpu", precision="fp32", prove=False)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the runs of each graph, by its last output."""
    counts: Counter[str] = Counter()
    run = Session.run

    def counted(session: Session, **inputs: Array) -> tuple[Array, ...]:
        counts[session.outputs[-1]] += 1
        return run(session, **inputs)

    monkeypatch.setattr(Session, "run", counted)
    return counts


def photo(height: int, width: int) -> Pixels:
    """Return smooth coloured noise."""
    coarse = np.random.default_rng(height).integers(0, 256, (9, 7, 3), np.uint8)
    return np.asarray(coarse[np.arange(height)[:, None] * 9 // height, np.arange(width) * 7 // width])


def in_transformers(tiny: Tiny, image: Pixels, phrases: Sequence[str]) -> tuple[Array, Array, Any]:
    """Return boxes, (n, 4), and the calibrated score of each phrase, (n, phrases); and the processor's own result.

    The processor is told to keep the proportions inside the square, as the bundle does.
    """
    processor = GroundingDinoProcessor.from_pretrained(tiny.source)
    scale = SIZE / max(image.shape[:2])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    square = {"size": {"height": height, "width": width}, "pad_size": {"height": SIZE, "width": SIZE}}
    inputs = processor(
        images=image, text=[list(phrases)], return_tensors="pt", input_data_format="channels_last", **square
    )
    with torch.inference_mode():
        outputs = tiny.network(**inputs)
    (result,) = processor.post_process_grounded_object_detection(
        outputs, threshold=-1.0, text_threshold=0.25, target_sizes=[image.shape[:2]]
    )
    ids = inputs["input_ids"][0].tolist()
    ends = [at for at, token in enumerate(ids) if token == text_settings()["dot_token_id"]]
    starts = [1, *(end + 1 for end in ends[:-1])]
    probabilities = outputs.logits[0].sigmoid().numpy()
    scores = [probabilities[:, start:end].max(axis=1) for start, end in zip(starts, ends, strict=True)]
    limits = [image.shape[1], image.shape[0]] * 2
    return np.clip(result["boxes"].numpy(), 0, limits), np.interp(np.stack(scores, axis=1), *CALIBRATION), result


def found(result: automask.Result) -> tuple[Array, Array]:
    """Return boxes and scores of a result."""
    boxes = np.array([instance.box for instance in result.instances]).reshape(-1, 4)
    return boxes, np.array([instance.score for instance in result.instances])


# Against transformers


@pytest.mark.parametrize(
    ("count", "size"), [(1, (90, 120)), (2, (200, 60)), (7, (90, 120)), (7, (1, 1)), (7, (3000, 4000))]
)
def test_boxes_and_scores_are_those_of_transformers(
    tiny: Tiny, segmenter: automask.Segmenter, count: int, size: tuple[int, int]
) -> None:
    image, phrases = photo(*size), PHRASES[:count]
    boxes, scores, _ = in_transformers(tiny, image, phrases)
    threshold = float(np.median(scores).round(3))
    results = segmenter.mask(image, list(phrases), threshold=threshold, return_mask=False)
    assert sum(len(result.instances) for result in results) > 10
    for phrase, result, expected in zip(phrases, results, scores.T, strict=True):
        order = np.argsort(-expected, kind="stable")[: int((expected >= threshold).sum())]
        found_boxes, found_scores = found(result)
        np.testing.assert_allclose(found_scores, expected[order], atol=2e-4)
        np.testing.assert_allclose(found_boxes, boxes[order], atol=1e-3 * max(size))
        assert {instance.label for instance in result.instances} <= {phrase}
        assert (result.labels, result.dropped, result.warnings) == ((phrase,), (), ())


def test_a_score_is_the_processors_own_where_the_best_token_is_a_word(tiny: Tiny) -> None:
    image = photo(90, 120)
    _, scores, result = in_transformers(tiny, image, ["red cup", "a dog"])
    raw = np.interp(scores.max(axis=1), *CALIBRATION[::-1])
    own = result["scores"].numpy()
    same = np.abs(raw - own) < 1e-6
    assert (raw <= own + 1e-6).all()
    assert same.sum() > 5
    for label, best in zip(np.array(result["text_labels"])[same], scores.argmax(axis=1)[same], strict=True):
        assert set(label.split()) & set(["red cup", "a dog"][best].split())


def test_a_prompt_of_several_phrases_takes_the_best_one_of_each_box(tiny: Tiny, segmenter: automask.Segmenter) -> None:
    image, phrases = photo(90, 120), ["red cup", "a dog on the left", "b"]
    boxes, scores, _ = in_transformers(tiny, image, phrases)
    result = segmenter.mask(image, "red cup, a dog on the left and b", threshold=0.2)
    best = dict(zip(map(tuple, boxes.round(1)), scores.argmax(axis=1), strict=True))
    assert result.labels == tuple(phrases)
    assert len({instance.label for instance in result.instances}) > 1
    for instance in result.instances:
        assert instance.label == phrases[best[tuple(np.array(instance.box).round(1))]]
        others = np.array([one.box for one in result.instances if one.label != instance.label], np.float32)
        assert overlaps(np.array(instance.box, np.float32), others.reshape(-1, 4)).max(initial=0) <= 0.7


@one_kind
def test_an_exclusion_is_looked_for_in_the_same_pass(segmenter: automask.Segmenter, runs: Counter[str]) -> None:
    image = photo(90, 120)
    whole = segmenter.mask(image, ["red cup", "dog"], threshold=0.5, grow_mask=0)
    left = segmenter.mask(image, "red cup but not the dog", threshold=0.5, grow_mask=0)
    assert runs["boxes"] == 2
    assert left.warnings == ("read as: red cup, without what is the dog",)
    assert left.mask.sum() <= whole[0].mask.sum()


# Passes and caches


@one_kind
def test_one_pass_for_any_number_of_prompts(segmenter: automask.Segmenter, runs: Counter[str]) -> None:
    image = photo(90, 120)
    segmenter.mask(image, ["red cup", "a dog, the cat", "RED CUP"], threshold=1)
    assert runs == {"text": 1, "vision_mask": 1, "boxes": 1}
    segmenter.mask(image, ["red cup", "a dog, the cat"], threshold=1)  # the same words: nothing to do
    assert runs == {"text": 1, "vision_mask": 1, "boxes": 1}
    segmenter.mask(image, "b", threshold=1)
    assert runs == {"text": 2, "vision_mask": 1, "boxes": 2}
    segmenter.mask(photo(60, 80), "b", threshold=1)
    assert runs == {"text": 2, "vision_mask": 2, "boxes": 3}


@one_kind
def test_phrases_that_do_not_fit_take_another_pass(segmenter: automask.Segmenter, runs: Counter[str]) -> None:
    image = photo(90, 120)
    # Each has three tokens and a dot: 63 fit into a caption of 256.
    phrases = [f"cat {first}{second}" for first in "xyz" for second in ascii_lowercase]
    together = segmenter.mask(image, phrases, threshold=0.5, return_mask=False)
    assert runs["boxes"] == 2
    apart = [
        one
        for some in (phrases[:63], phrases[63:])
        for one in segmenter.mask(image, some, threshold=0.5, return_mask=False)
    ]
    assert runs["boxes"] == 2  # both passes are cached
    assert [found(one)[1].tolist() for one in together] == [found(one)[1].tolist() for one in apart]
    one = segmenter.mask(image, ", ".join(phrases), threshold=0.5, return_mask=False)
    assert {instance.label for instance in one.instances} <= set(phrases)
    assert runs["boxes"] == 2


# Prompts


@one_kind
def test_a_prompt_of_a_thousand_words_is_cut(segmenter: automask.Segmenter) -> None:
    result = segmenter.mask(photo(90, 120), "the red cup " * 333 + "b", threshold=0)
    assert result.dropped == ("red cup " + "the red cup " * 248 + "b",)
    assert "was cut after 253 tokens" in result.warnings[0]
    assert result.instances


@one_kind
@pytest.mark.parametrize("prompt", ["🐈", "قطة حمراء", "ﬁsh 🐈‍⬛"])
def test_what_the_model_cannot_read_is_said(segmenter: automask.Segmenter, prompt: str) -> None:
    (warning,) = segmenter.mask(photo(90, 120), prompt).warnings
    assert warning.startswith("this model cannot read ")


@one_kind
def test_nothing_found(segmenter: automask.Segmenter) -> None:
    result = segmenter.mask(photo(90, 120), "red cup, a dog", threshold=1)
    assert (result.instances, result.labels, result.is_empty) == ((), ("red cup", "a dog"), True)


@one_kind
def test_at_threshold_0_the_best_objects_are_drawn(segmenter: automask.Segmenter) -> None:
    result = segmenter.mask(photo(90, 120), "red cup", threshold=0)
    assert 20 <= len(result.instances) <= 30


@one_kind
@pytest.mark.parametrize("prompt", ["", " ", ", .", ["cup", ""]])
def test_a_blank_prompt_is_refused(segmenter: automask.Segmenter, prompt: Any) -> None:
    with pytest.raises(ParameterError, match="prompt must name something to look for"):
        segmenter.mask(photo(9, 9), prompt)


# The bundle


def test_the_bundle(tiny: Tiny) -> None:
    bundle = open_bundle(tiny.folder)  # checks the schema and every hash
    assert bundle.kinds == {"finder": "grounding-dino", "drawer": "sam"}
    assert [list(point) for point in bundle.calibration] == [[0, 0], [0.25, 0.2], [1, 1]]
    assert "apache-2.0" in bundle.licence.lower()
    settings = {name: bundle.text[name] for name in text_settings()}
    assert settings == text_settings()
    width, cells = 32, sum(height * length for height, length in level_shapes(tiny.network, SIZE))
    shapes = {
        role: {name: list(tensor.shape) for name, tensor in {**graph.inputs, **graph.outputs}.items()}
        for role, graph in bundle.graphs.items()
        if role in {"text_encoder", "detector_encoder", "detector"}
    }
    layout = {"phrase_mask": [1, "length", "length"], "position_ids": [1, "length"]}
    vision = {"vision": [1, cells, width], "vision_mask": [1, cells]}
    pixels = {"pixel_values": [1, 3, SIZE, SIZE], "pixel_mask": [1, SIZE, SIZE]}
    text = {"text": [1, "length", width]}
    assert shapes == {
        "text_encoder": {"input_ids": [1, "length"], **layout, **text},
        "detector_encoder": {**pixels, **vision},
        "detector": {**vision, **text, **layout, "logits": [30, "length"], "boxes": [30, 4]},
    }


def test_the_figures_are_those_of_a_model_that_computes_the_same(tiny: Tiny) -> None:
    parity = json.loads((tiny.folder / "automask.json").read_text(encoding="utf-8"))["parity"]
    assert parity["figures"]["fp32 detector: share of equal queries"] == 1
    assert parity["figures"]["fp32 boxes: share that both found"] == 1
    for name in parity["figures"]:
        assert name in tiny.output


def test_the_network_is_left_as_it_was(tiny: Tiny) -> None:
    """The torch modules call the network's layers, and patch neither it nor transformers."""
    image, phrases = photo(90, 120), PHRASES[:2]
    before = in_transformers(tiny, image, phrases)[1]
    tiny_again = Tiny(type(tiny.network).from_pretrained(tiny.source).eval(), tiny.source, tiny.folder, "")
    np.testing.assert_allclose(in_transformers(tiny_again, image, phrases)[1], before, atol=1e-6)


@pytest.mark.parametrize("precision", ["int8", "fp16"])
@one_kind
def test_other_precisions_find_nearly_the_same(tiny: Tiny, precision: str) -> None:
    exact, other = (
        automask.load(tiny.folder, device="cpu", precision=name).mask(photo(90, 120), "red cup", threshold=0)
        for name in ("fp32", precision)
    )
    np.testing.assert_allclose(found(other)[1][:10], found(exact)[1][:10], atol=0.05)


@one_kind
@pytest.mark.usefixtures("own_memory")
def test_features_stay_on_a_device_with_its_own_memory(tiny: Tiny) -> None:
    devices: Any = ("cpu", "new")
    here, there = (automask.load(tiny.folder, device=name, precision="fp32", prove=False) for name in devices)
    expected, result = (one.mask(photo(90, 120), "red cup", threshold=0) for one in (here, there))
    np.testing.assert_array_equal(found(result)[0], found(expected)[0])
    np.testing.assert_array_equal(result.mask, expected.mask)
    assert there.cache_info().gpu_bytes > 0


# Bad input


@pytest.fixture
def broken(tiny: Tiny, tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint, for tests that damage it."""
    shutil.copytree(tiny.source, tmp_path / "broken")
    return tmp_path / "broken"


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def drop(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink()


def swap_signs(folder: Path) -> None:
    """Write a vocabulary in which the dot has another id than the network expects."""
    tokens = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    tokens[1012], tokens[1029] = tokens[1029], tokens[1012]
    drop(folder, "tokenizer.json", "vocab.txt")
    (folder / "vocab.txt").write_text("\n".join(tokens), encoding="utf-8")


SMALL = tiny_config()["text_config"]
BREAKS: list[Any] = [
    pytest.param(lambda f: drop(f, "tokenizer.json", "vocab.txt"), "has no tokenizer", id="tokenizer"),
    pytest.param(swap_signs, r"must have the ids .*'\.': 1012.*, it has .*'\.': 1029", id="ids"),
    pytest.param(lambda f: drop(f, "preprocessor_config.json"), "has no preprocessor_config.json", id="processor"),
    pytest.param(lambda f: drop(f, "model.safetensors"), "holds no weights", id="weights"),
    pytest.param(lambda f: (f / "model.safetensors").write_bytes(b"no"), "weights of broken cannot be read", id="bad"),
    pytest.param(lambda f: edit(f / "config.json", two_stage=False), "must have two_stage=True", id="one stage"),
    pytest.param(lambda f: edit(f / "config.json", d_model="x"), "of broken cannot be read", id="wrong type"),
    pytest.param(
        lambda f: edit(f / "config.json", text_config=SMALL | {"model_type": "roberta"}),
        "must be bert, is roberta",
        id="roberta",
    ),
    pytest.param(
        lambda f: edit(f / "config.json", text_config=SMALL | {"vocab_size": 1100}),
        r"has 11\d\d tokens, its text encoder 1100",
        id="small text encoder",
    ),
    pytest.param(lambda f: edit(f / "preprocessor_config.json", do_resize=False), "must resize images", id="no resize"),
]


@pytest.mark.parametrize(("break_it", "message"), BREAKS)
@one_kind
def test_broken_checkpoints(break_it: Any, message: str, broken: Path, tmp_path: Path) -> None:
    break_it(broken)
    with pytest.raises(AutomaskError, match=message):
        run_command(broken, tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


@one_kind
def test_missing_weights_are_an_error(broken: Path, tmp_path: Path) -> None:
    weights = load_file(broken / "model.safetensors")
    del weights["model.text_projection.weight"]
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(AutomaskError, match=r"lack 1 tensors, such as model\.text_projection\.weight"):
        run_command(broken, tmp_path / "bundle")


@one_kind
@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("100", "image size must be a multiple of 32, got 100"),
        ("32", r"image size must give at least 30 cells, one for each query, got '32 \(22\)'"),
    ],
)
def test_an_image_size_that_the_model_cannot_have(broken: Path, tmp_path: Path, size: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        run_command(broken, tmp_path / "bundle", "--image-size", size)


@one_kind
def test_a_graph_with_other_names_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    shutil.copytree(tiny.folder, tmp_path / "bundle")
    manifest = json.loads((tmp_path / "bundle" / "automask.json").read_text(encoding="utf-8"))
    outputs = manifest["graphs"]["detector"]["outputs"]
    outputs["scores"] = outputs.pop("logits")
    edit(tmp_path / "bundle" / "automask.json", graphs=manifest["graphs"])
    with pytest.raises(BundleError, match="the graph 'detector' must have the output 'logits', has boxes, scores"):
        automask.load(tmp_path / "bundle", device="cpu")


def test_the_vocabulary_of_the_tests_has_the_signs_of_the_network(tmp_path: Path) -> None:
    tokenizer = bert_tokenizer(tmp_path)
    assert tokenizer("a cup? a dog.").input_ids[3] == 1029
