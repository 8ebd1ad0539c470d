"""Finders that read text with drawers other than the built-in one, exported together by the real command.

The checkpoints have random weights. Each finder and each drawer is compared with transformers in a file of its own.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

import automask
from automask.export.cli import export
from automask.schema import manifest_schema
from automask.session import Session
from support import drawer_checkpoints, grounding_dino_checkpoints, omdet_checkpoints, owl_checkpoints

PHRASES = ["a cat", "the cup on the left", "a spoon", "cat", "the old wooden chair", "left", "a cup, and a spoon"]
FINDERS: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "owl": (lambda folder: owl_checkpoints.checkpoint(folder, "owlvit"), []),
    "omdet": (omdet_checkpoints.checkpoint, []),
    "grounding-dino": (
        lambda folder: grounding_dino_checkpoints.checkpoint(
            folder, "grounding-dino", grounding_dino_checkpoints.tiny_config()
        ),
        ["--image-size", "128"],
    ),
}


@dataclass(frozen=True)
class Combined:
    """A bundle, and the names of its parts."""

    finder: str
    drawer: str
    folder: Path


@pytest.fixture(
    scope="module",
    params=[("owl", "sam2"), ("omdet", "edgetam"), ("grounding-dino", "sam")],
    ids="+".join,
)
def combined(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Combined:
    finder, drawer = request.param
    base = tmp_path_factory.mktemp(finder)
    save, options = FINDERS[finder]
    save(base / "finder")
    drawer_checkpoints.save(drawer_checkpoints.random_network(drawer), base / "drawer")
    command = [str(base / "finder"), "--masks", str(base / "drawer"), "-o", str(base / "bundle"), *options]
    done = CliRunner().invoke(export, [*command, "--precision", "fp32"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return Combined(finder, drawer, base / "bundle")


def test_the_manifest_is_that_of_the_schema(combined: Combined) -> None:
    jsonschema.validate(json.loads((combined.folder / "automask.json").read_text()), manifest_schema())


@pytest.fixture
def segmenter(combined: Combined) -> automask.Segmenter:
    return automask.load(combined.folder, device="cpu", prove=False)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the runs of each graph, by its first input."""
    counts: Counter[str] = Counter()
    run = Session.run

    def counted(session: Session, **inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        counts[next(iter(inputs))] += 1
        return run(session, **inputs)

    monkeypatch.setattr(Session, "run", counted)
    return counts


def test_the_bundle_has_both(combined: Combined) -> None:
    manifest = json.loads((combined.folder / "automask.json").read_text(encoding="utf-8"))
    assert manifest["kinds"]["finder"] == combined.finder
    assert manifest["kinds"]["drawer"] == ("sam" if combined.drawer == "sam" else "sam2")
    assert {"detector", "image_encoder", "mask_decoder"} <= set(manifest["graphs"])
    assert {"config.json", "drawer_config.json", "drawer_preprocessor_config.json"} <= set(manifest["files"])
    assert manifest["parity"]["figures"]["fp32 chain: relative error of the best object's mask"] <= 1e-3
    assert len(manifest["sources"]) == 2


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_objects_of_each_prompt_are_drawn_into_their_boxes(
    segmenter: automask.Segmenter, coffee: NDArray[np.uint8], count: int
) -> None:
    results = segmenter.mask(coffee, PHRASES[:count], threshold=0)
    assert len(results) == count
    for phrase, result in zip(PHRASES, results, strict=False):
        assert result.instances
        assert {one.label for one in result.instances} <= {phrase, *phrase.split(", and ")}
        best = result.instances[0]
        (alone,) = segmenter.mask(coffee, box=best.box).instances
        np.testing.assert_allclose(best.logits, alone.logits, atol=1e-3 * np.abs(alone.logits).max())


def test_a_new_prompt_on_the_same_photo_encodes_no_image_again(
    segmenter: automask.Segmenter, coffee: NDArray[np.uint8], runs: Counter[str]
) -> None:
    segmenter.mask(coffee, "a cat", threshold=0)
    first = Counter(runs)
    segmenter.mask(coffee, "the cup on the left", threshold=0)
    again = runs - first
    images = {name for name in first if name in {"image", "pixel_values"}}
    assert images
    assert not images & set(again)
    assert again, "words and masks are computed"


def test_nothing_is_drawn_where_nothing_is_found(
    combined: Combined, segmenter: automask.Segmenter, coffee: NDArray[np.uint8], runs: Counter[str]
) -> None:
    result = segmenter.mask(coffee, "a cat", threshold=1)
    assert result.is_empty
    encoder = json.loads((combined.folder / "automask.json").read_text(encoding="utf-8"))["graphs"]["mask_decoder"]
    assert not set(runs) & set(encoder["inputs"])


def test_a_box_needs_no_words(segmenter: automask.Segmenter, coffee: NDArray[np.uint8]) -> None:
    result = segmenter.mask(coffee, box=(100, 50, 400, 300))
    assert result.mask.shape == coffee.shape[:2]
    assert len(result.instances) == 1
