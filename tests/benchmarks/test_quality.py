"""`benchmarks/quality.py`, and the questions `quality` and `edges`, on one photo with the model's own mask as truth."""

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


def test_the_question_edges_compares_each_mode_with_the_truth(data: Path, tmp_path: Path) -> None:
    shown = run("benchmarks/run.py", "edges", "--data", data, "--quick", "--results", tmp_path)
    assert "(mean over the 2 things that are found)" in shown
    found = json.loads((tmp_path / "edges.json").read_text())["figures"]
    agreement = found["agreement"]["modes"]
    assert agreement.keys() == {"model", "fast", "fine"}
    assert agreement["fast"]["iou"] == pytest.approx(0.5, abs=0.05)  # one label is this mask, the other one nowhere
    assert agreement["fast"]["near"] > agreement["model"]["near"]
    assert found["alpha"]["out of focus"]['alpha="soft"']["mse"] < found["alpha"]["out of focus"]["as drawn"]["mse"]
