"""Export one model of each kind with random weights, and draw what it makes of a photo into one picture.

    python benchmarks/families.py docs/families.jpg

The networks are those of the tests: tiny, and untrained. The picture shows the kind of answer of each, not its quality.
The one for SAM 3's family is made by hand: a checkpoint of SAM 3 needs another version of transformers.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import automask
from automask.export.cli import export
from harness.machine import ROOT
from support import (
    clipseg_checkpoints,
    concept_bundles,
    grounding_dino_checkpoints,
    label_set_checkpoints,
    omdet_checkpoints,
    owl_checkpoints,
)

PHOTO = ROOT / "examples" / "coffee.jpg"
WIDTH, HEIGHT, TITLE, GAP, COLUMNS = 300, 200, 44, 8, 3
THRESHOLDS = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005)
SHOWN = 6
"""Most instances drawn."""


@dataclass(frozen=True)
class Model:
    """A panel of the picture.

    Attributes
    ----------
    title
        Family and architecture.
    prompt
        The prompt.
    save
        Writes a checkpoint into a folder; None for the built-in model.
    options
        Further options of the export.
    weights
        Where its numbers come from.
    """

    title: str
    prompt: str
    save: Callable[[Path], object] | None
    options: tuple[str, ...] = ()
    weights: str = "random weights"


def labels(architecture: str, name: str) -> Callable[[Path], object]:
    """Return what saves a checkpoint with a fixed set of labels."""
    return lambda folder: label_set_checkpoints.save_checkpoint(folder, architecture, name)


MODELS = (
    Model("boxes: PicoDet + MobileSAM", "cup", None, weights="built in, trained"),
    Model("boxes: OWL-ViT + MobileSAM", "cup", lambda folder: owl_checkpoints.checkpoint(folder, "owlvit")),
    Model("boxes: OmDet-Turbo + MobileSAM", "cup", omdet_checkpoints.checkpoint),
    Model(
        "boxes: Grounding DINO + MobileSAM",
        "the red cup",
        lambda folder: grounding_dino_checkpoints.checkpoint(
            folder, "grounding-dino", grounding_dino_checkpoints.tiny_config()
        ),
        ("--image-size", "128"),
    ),
    Model("boxes: D-FINE + MobileSAM", "dining table", labels("detectors", "d_fine")),
    Model("regions: EoMT", "dining table", labels("regions", "eomt")),
    Model("dense: SegFormer", "dining table", labels("label_maps", "segformer")),
    Model(
        "dense: CLIPSeg",
        "the cup",
        lambda folder: clipseg_checkpoints.checkpoint(folder, clipseg_checkpoints.tiny_config(), size=64, gain=40.0),
    ),
)


def bundle(model: Model, folder: Path) -> str | Path:
    """Export a model by the real command; return the bundle."""
    if model.save is None:
        return "default"
    model.save(folder / "checkpoint")
    arguments = [str(folder / "checkpoint"), "-o", str(folder / "bundle"), "--precision", "fp32", *model.options]
    export(arguments, standalone_mode=False)
    return folder / "bundle"


def answer(path: str | Path, image: Path | NDArray[np.uint8], prompt: str) -> tuple[NDArray[np.uint8], float]:
    """Return the image with the mask tinted over it and the boxes of the best instances; and the score they are over.

    Scores of untrained weights may all be low: the first threshold at which there is a mask is taken.
    """
    segmenter = automask.load(path, device="cpu")
    for threshold in THRESHOLDS:
        result = segmenter.mask(image, prompt, threshold=threshold, grow_mask=0)
        if not result.is_empty:
            break
    picture = result.preview.copy()
    for one in result.instances[:SHOWN]:
        left, top, right, bottom = (round(value) for value in one.box)
        cv2.rectangle(picture, (left, top), (right, bottom), (255, 255, 255), max(1, picture.shape[1] // 200))
    return np.asarray(picture, np.uint8), threshold


def panel(picture: NDArray[np.uint8], threshold: float, model: Model) -> Image.Image:
    """Return a picture under its title."""
    page = Image.new("RGB", (WIDTH, HEIGHT + TITLE), "white")
    page.paste(Image.fromarray(picture).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS), (0, TITLE))
    subtitle = f'"{model.prompt}", score over {threshold:g}: {model.weights}'
    ImageDraw.Draw(page).multiline_text((2, 8), f"{model.title}\n{subtitle}", "black", spacing=4)
    return page


def sheet(panels: list[Image.Image]) -> Image.Image:
    """Return the panels in rows."""
    width, height = panels[0].width + GAP, panels[0].height + GAP
    rows = -(-len(panels) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * width - GAP, rows * height - GAP), "white")
    for number, one in enumerate(panels):
        page.paste(one, (number % COLUMNS * width, number // COLUMNS * height))
    return page


def main() -> None:
    """Make the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="the picture, a JPEG")
    output = parser.parse_args().output
    panels = []
    with TemporaryDirectory() as temporary:
        for number, model in enumerate(MODELS):
            folder = Path(temporary) / str(number)
            folder.mkdir()
            panels.append(panel(*answer(bundle(model, folder), PHOTO, model.prompt), model))
        folder = Path(temporary) / "concept"
        concept = Model("concept: a stand-in for SAM 3", "red", None, weights="made by hand to find colours")
        colours = concept_bundles.colour_bundle(folder)
        panels.append(panel(*answer(colours, concept_bundles.two_rectangles(), concept.prompt), concept))
    sheet(panels).save(output, quality=80, optimize=True)


if __name__ == "__main__":
    main()
