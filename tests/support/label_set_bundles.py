"""Exports of the checkpoints of `label_set_checkpoints`, by the real command."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import torch
import transformers as tf
from click.testing import CliRunner
from numpy.typing import NDArray

import automask
from automask.export.cli import export
from automask.schema import manifest_schema

from .label_set_checkpoints import save_checkpoint

PLAIN: dict[str, Any] = {"grow_mask": 0, "edges": "model"}
SIZES = ((1, 1), (3, 200), (333, 17), (3000, 4000))


def run_export(source: Path, output: Path, *options: str) -> str:
    """Run the command in this process; raise its error, or return its output."""
    # Without WordNet: the download is not tested here, and its thousands of words would take seconds each time.
    environment = {"HF_HUB_OFFLINE": "1", "XDG_CACHE_HOME": str(source.parent / "cache")}
    arguments = [str(source), "--output", str(output), "--precision=fp32", *options]
    done = CliRunner().invoke(export, arguments, env=environment)
    if done.exception is not None:
        raise done.exception
    return done.output


@dataclass(frozen=True)
class Exported:
    """A checkpoint and its bundle, loaded."""

    name: str
    source: Path
    folder: Path
    segmenter: automask.Segmenter
    output: str

    @property
    def manifest(self) -> dict[str, Any]:
        """`automask.json`, which must be valid."""
        content: dict[str, Any] = json.loads((self.folder / "automask.json").read_text())
        jsonschema.validate(content, manifest_schema())
        return content

    def in_transformers(self, photo: NDArray[np.uint8], auto_class: str) -> tuple[Any, Any]:
        """The outputs of transformers' own network, and its processor, with the image size of the bundle."""
        processor = tf.AutoImageProcessor.from_pretrained(self.folder, use_fast=False)
        network = getattr(tf, auto_class).from_pretrained(self.source).eval()
        inputs = processor(photo, return_tensors="pt")
        with torch.no_grad():
            outputs = network(**{name: inputs[name] for name in inputs if name in {"pixel_values", "pixel_mask"}})
        return outputs, processor


def export_tiny(folder: Path, architecture: str, name: str) -> Exported:
    """Save a checkpoint of a model type and export it."""
    source, output = folder / name / "checkpoint", folder / name / "bundle"
    save_checkpoint(source, architecture, name)
    printed = run_export(source, output)
    # Neither proven nor timed in each precision: that each model is, is tested elsewhere.
    return Exported(name, source, output, automask.load(output, device="cpu", precision="fp32", prove=False), printed)


def calibrated(score: float) -> float:
    """The score of the API for a raw one."""
    return float(np.interp(score, [0, 0.5, 1], [0, 0.2, 1]))


def wide_photo() -> NDArray[np.uint8]:
    """320 × 640 pixels of noise, a size that every processor fits into a square without rounding."""
    coarse = np.random.default_rng(3).integers(0, 256, (20, 40, 3))
    return np.asarray(coarse.repeat(16, 0).repeat(16, 1), np.uint8)


def check_any_size(bundle: Exported, prompt: str) -> None:
    """Mask photos from one pixel to 12 megapixels; nothing is outside of them."""
    for height, width in SIZES:
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
        result = bundle.segmenter.mask(image, prompt, threshold=0, **PLAIN)
        assert result.mask.shape == (height, width)
        for one in result.instances:
            left, top, right, bottom = one.box
            assert 0 <= left <= right <= width
            assert 0 <= top <= bottom <= height
