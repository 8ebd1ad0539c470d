"""Sense: a model that masks what its prompt names, and models that do not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from automask.bundle import sha256
from automask.lookup import locate_bundle
from automask.sense import Sense, check_sense


def swapped(folder: Path, one: str, other: str) -> Path:
    """A copy of the built-in bundle that takes each of two words for the other."""
    shutil.copytree(locate_bundle("default"), folder)
    manifest = json.loads((folder / "automask.json").read_text(encoding="utf-8"))
    words = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
    words["aliases"] |= {one: words["aliases"][other], other: words["aliases"][one]}
    (folder / "vocabulary.json").write_text(json.dumps(words), encoding="utf-8")
    manifest["files"]["vocabulary.json"] = sha256(folder / "vocabulary.json")
    (folder / "automask.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def test_the_built_in_model_makes_sense() -> None:
    sense = check_sense("default")
    assert sense == Sense(1.0, "giraffe", 0.0)
    assert sense.holds


def test_a_model_that_masks_something_else_is_warned_of(tmp_path: Path) -> None:
    sense = check_sense(swapped(tmp_path / "bundle", "person", "giraffe"))
    assert not sense.holds
    assert (sense.iou, sense.absent, sense.absent_iou) == (0.0, "giraffe", 1.0)
    assert str(sense).startswith("WARNING: makes no sense: asked for a person in a photo")
    assert "asked for a giraffe, which is not there, 1.00" in str(sense)


@pytest.mark.parametrize(
    ("sense", "holds"),
    [
        (Sense(0.6, "car", 0.1), True),
        (Sense(0.6), True),
        (Sense(0.49), False),
        (Sense(0.9, "car", 0.9), False),  # the mask does not depend on the prompt
        (Sense(None), True),
    ],
)
def test_bounds(sense: Sense, holds: bool) -> None:
    assert sense.holds is holds
    assert ("WARNING" in str(sense)) is not holds
