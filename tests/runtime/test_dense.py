"""Family `dense`, used as a user would: a CLIPSeg bundle from the real export, loaded without torch."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image
from transformers import CLIPSegForImageSegmentation, CLIPTokenizerFast, ViTImageProcessor

import automask
from automask import postprocess
from automask.export.cli import export
from support.clipseg_checkpoints import checkpoint, tiny_config
from support.command_line import run_text as run

Pixels = NDArray[np.uint8]
PROMPTS = ["the cup", "a cat on the left", "THE CUP", "猫 🐈", "on", "x", "the the the", "cup!"]
T = 0.5  # random weights spread their scores around a half


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dense") / "checkpoint"
    checkpoint(folder, tiny_config(), size=96, gain=40.0)
    return folder


@pytest.fixture(scope="module")
def bundle(source: Path) -> Path:
    folder = source.with_name("bundle")
    options = [f"--precision={precision}" for precision in ("fp32", "int8", "fp16")]
    done = CliRunner().invoke(export, ["clipseg", "--model", str(source), "--output", str(folder), *options])
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def segmenter(bundle: Path) -> automask.Segmenter:
    return automask.load(bundle, device="cpu", precision="fp32")


def scores(result: automask.Result) -> NDArray[np.float32]:
    assert result.score_map is not None
    return result.score_map


def in_transformers(source: Path, photo: Pixels, prompt: str) -> NDArray[np.float32]:
    """The score map as transformers' own processor and model make it, in torch."""
    model = CLIPSegForImageSegmentation.from_pretrained(source).eval()
    text = CLIPTokenizerFast.from_pretrained(source)([prompt], return_tensors="pt", truncation=True)
    image = ViTImageProcessor.from_pretrained(source)(photo, return_tensors="pt")
    with torch.no_grad():
        logits = model(**text, **image).logits
    size = (logits.shape[-2], logits.shape[-1])
    resized = torch.nn.functional.interpolate(logits.reshape(1, 1, *size).sigmoid(), photo.shape[:2], mode="bilinear")
    return np.asarray(resized[0, 0].numpy(), np.float32)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_scores_are_those_of_transformers(
    segmenter: automask.Segmenter, source: Path, coffee: Pixels, prompt: str
) -> None:
    result = segmenter.mask(coffee, prompt, threshold=T, grow_mask=0, edges="model")
    expected = in_transformers(source, coffee, prompt)
    assert expected.std() > 0.05
    np.testing.assert_allclose(scores(result), expected, atol=1e-4)
    np.testing.assert_array_equal(result.mask, postprocess.threshold(scores(result), T))
    assert (result.instances, result.labels, result.dropped, result.warnings) == ((), (prompt,), (), ())
    assert result.is_empty == (not result.mask.any())


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_other_precisions_mask_nearly_the_same(bundle: Path, coffee: Pixels, precision: str) -> None:
    wanted = automask.load(bundle, device="cpu", precision="fp32").mask(coffee, PROMPTS, threshold=T, grow_mask=0)
    got = automask.load(bundle, device="cpu", precision=precision).mask(coffee, PROMPTS, threshold=T, grow_mask=0)
    for one, other in zip(wanted, got, strict=True):
        assert ((one.mask > 0) == (other.mask > 0)).mean() > 0.9


def test_int8_is_the_default_on_a_cpu(bundle: Path, coffee: Pixels) -> None:
    default, int8, fp32 = (
        scores(automask.load(bundle, device="cpu", precision=precision).mask(coffee, "cup"))
        for precision in (None, "int8", "fp32")
    )
    np.testing.assert_array_equal(default, int8)
    assert not np.array_equal(default, fp32)


def test_eight_prompts_cost_one_encoding_and_one_call_of_the_decoder(
    segmenter: automask.Segmenter, coffee: Pixels, runs: Counter[str]
) -> None:
    together = segmenter.mask(coffee, PROMPTS, threshold=T)
    assert runs == {
        "activation_0": 1,
        "logits": 1,
        "conditional_embedding": len(PROMPTS) - 1,
    }  # two differ in case only
    for prompt, result in zip(PROMPTS, together, strict=True):
        alone = segmenter.mask(coffee, prompt, threshold=T)
        np.testing.assert_allclose(scores(alone), scores(result), atol=1e-5)
    assert (runs["activation_0"], runs["conditional_embedding"]) == (1, len(PROMPTS) - 1)


def test_photos_and_prompts_are_encoded_once(
    segmenter: automask.Segmenter, coffee_file: Path, astronaut: Pixels, runs: Counter[str]
) -> None:
    for image, prompt in ((coffee_file, "the cup"), (coffee_file, "a cat"), (astronaut, "the cup")):
        segmenter.mask(image, prompt)
    assert runs == {"activation_0": 2, "conditional_embedding": 2, "logits": 3}


def test_a_prompt_over_the_limit_is_cut_with_a_warning(segmenter: automask.Segmenter, coffee: Pixels) -> None:
    result = segmenter.mask(coffee, "the cup " * 37 + "the left cat")
    assert result.dropped == ("left cat",)
    assert result.warnings == ("the prompt was cut after 77 tokens, the most that this model takes",)
    np.testing.assert_array_equal(scores(result), scores(segmenter.mask(coffee, "the cup " * 37 + "the")))


@pytest.mark.parametrize("prompt", ["", " \n", ["cup", " "]])
def test_a_blank_prompt_is_refused(segmenter: automask.Segmenter, coffee: Pixels, prompt: Any) -> None:
    with pytest.raises(automask.ParameterError, match="prompt must name something to mask"):
        segmenter.mask(coffee, prompt)
    if isinstance(prompt, str):
        with pytest.raises(automask.ParameterError, match="prompt must name something to mask"):
            segmenter.mask_many([coffee], prompt)


def test_post_processing_is_the_same_as_for_every_family(segmenter: automask.Segmenter, coffee: Pixels) -> None:
    plain = segmenter.mask(coffee, "the cup", threshold=T, grow_mask=0)
    other = segmenter.mask(coffee, "a cat", threshold=T, grow_mask=0)
    result = segmenter.mask(coffee, "the cup", threshold=T, grow_mask=5, exclude="a cat", invert_mask=True)
    expected = postprocess.invert(postprocess.subtract(postprocess.grow(plain.mask, 5), other.mask))
    np.testing.assert_array_equal(result.mask, expected)
    assert segmenter.mask(coffee, "the cup", threshold=1).is_empty
    with pytest.raises(automask.EmptyMaskError):
        segmenter.mask(coffee, "the cup", threshold=1, stop_on_empty_mask=True)


def test_the_command_line_takes_a_folder(bundle: Path, coffee: Pixels, coffee_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "cup.png"
    done = run("mask", coffee_file, "the cushion on the left", "--model", bundle, "--threshold", T, "-o", target)
    assert done.returncode == 0, done.stderr
    expected = automask.load(bundle, device="cpu").mask(coffee, "the cushion on the left", threshold=T)
    np.testing.assert_array_equal(np.asarray(Image.open(target)), expected.mask)
    (described,) = json.loads(run("models", bundle, "--json").stdout)
    assert (described["family"], described["vocabulary"], described["precisions"]) == (
        "dense", None, ["fp16", "fp32", "int8"],
    )  # fmt: skip
    told = run("models", bundle)
    assert told.returncode == 0, told.stderr
    assert "any text" in told.stdout
    assert "model.safetensors, unknown" in told.stdout


def test_masking_imports_no_package_of_the_export(bundle: Path, coffee_file: Path) -> None:
    code = (
        "import sys, automask; automask.load(sys.argv[1]).mask(sys.argv[2], 'a cup');"
        "print(*{'torch', 'transformers', 'onnx', 'optimum', 'huggingface_hub'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, str(bundle), str(coffee_file)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == ""


def test_without_tokenizers_the_error_has_the_install_command(bundle: Path) -> None:
    code = "import sys; sys.modules['tokenizers'] = None; import automask; automask.load(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, str(bundle)], capture_output=True, text=True, check=False)
    assert "MissingDependencyError: models that understand free text need a tokenizer" in done.stderr
    assert "pip install 'automask[text]'" in done.stderr


def test_a_broken_tokenizer_is_named(bundle: Path, tmp_path: Path) -> None:
    from automask.words.tokenizer import Tokenizer

    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(automask.BundleError, match=r"tokenizer\.json is no tokenizer"):
        Tokenizer(tmp_path / "tokenizer.json", 77)
    assert Tokenizer(bundle / "tokenizer.json", 77).encode("the cup").ids


@pytest.mark.parametrize(
    ("prompt", "selected"),
    [(None, {"box": (1, 1, 20, 20)}), ("cup", {"points": [(1, 1, 1)]}), ("cup", {"keep": [0]}), ("cup", {"drop": [0]})],
)
def test_a_selection_needs_objects(
    segmenter: automask.Segmenter, coffee: Pixels, prompt: str | None, selected: dict[str, Any]
) -> None:
    with pytest.raises(
        automask.ParameterError, match="must be left out for .*, which scores pixels and finds no objects"
    ):
        segmenter.mask(coffee, prompt, **selected)
