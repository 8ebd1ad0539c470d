"""`benchmarks/quality.py` and the question `quality`, on one photo whose ground truth is the model's own mask."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import automask
from harness.machine import ROOT


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, segmenter: automask.Segmenter, coffee: NDArray[np.uint8]) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    Image.fromarray(coffee).save(folder / "images" / "coffee.png")
    labels = segmenter.mask(coffee, "cup", threshold=0.2, grow_mask=0).mask // 255
    Image.fromarray(labels).save(folder / "masks" / "coffee.png")
    pairs = [("cup", "thing", 1), ("cup", "thing", 2), ("zebra", "absent", 0), ("sky", "stuff", 3)]
    (folder / "pairs.json").write_text(
        json.dumps([dict(zip(("prompt", "kind", "label"), pair, strict=True), image="coffee.png") for pair in pairs])
    )
    return folder


def run(*arguments: object) -> str:
    line = [sys.executable, *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def test_quality_by_prompt_and_kind(data: Path) -> None:
    shown = run("benchmarks/quality.py", "--data", data, "--device", "cpu")
    assert "| cup | 2 | 0.500 | 0 | 0 |" in shown  # one label is the mask itself, the other one is nowhere
    assert "thing: mean IoU ± standard error 0.500 ± 0.500 over 2 pairs, 0 with nothing found; 0 refused" in shown
    assert "stuff: mean IoU ± standard error - pairs, 0 with nothing found; 1 refused" in shown
    assert "absent: 0 false masks in 1 (0.0 %); 0 refused" in shown


def test_the_question_quality(data: Path, tmp_path: Path) -> None:
    shown = run("benchmarks/run.py", "quality", "--data", data, "--quick", "--results", tmp_path)
    assert "; nothing found for 0 | 0 in 1 (0.0 %) | 1 of 1; - |" in shown
    figures = json.loads((tmp_path / "quality.json").read_text())["figures"]
    assert figures["int8"]["thing"]["ious"] == [1.0, 0.0]
    assert figures["fp32"]["thing"]["ious"][0] > 0.8
