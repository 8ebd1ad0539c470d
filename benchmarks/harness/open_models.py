"""Models of an open vocabulary and of fixed labels, of real size and with random weights, exported to bundles.

`python -m harness.open_models NAME FOLDER` makes checkpoint and bundle in a process of its own, which frees its memory.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from .machine import ROOT
from .options import RunOptions

PRECISIONS = ("fp32", "int8")


@dataclass(frozen=True)
class OpenModel:
    """A model of the question.

    Attributes
    ----------
    title
        Architecture and image size.
    save
        Writes a checkpoint of the real size into a folder.
    reads_text
        Whether it takes any words; else the labels of the built-in model.
    """

    title: str
    save: Callable[[Path], None]
    reads_text: bool


def exported(name: str, options: RunOptions) -> tuple[Path, Path]:
    """Return checkpoint and bundle of a model. They are made once, and kept; a quick run has tiny ones, in its folder.

    Raises
    ------
    SystemExit
        The export failed.
    """
    folder = (options.folder / "open" if options.quick else options.models) / name
    checkpoint, bundle = folder / "checkpoint", folder / "bundle"
    if not bundle.exists():
        shutil.rmtree(checkpoint, ignore_errors=True)
        if options.quick:
            _save_tiny(name, checkpoint)
            _export(checkpoint, bundle)
        else:
            print(f"exporting {MODELS[name].title} to {bundle}", file=sys.stderr, flush=True)
            command = [sys.executable, "-m", "harness.open_models", name, str(folder)]
            if subprocess.run(command, cwd=ROOT / "benchmarks", check=False).returncode:
                raise SystemExit(f"the export of {name} failed")
    return checkpoint, bundle


def _export(checkpoint: Path, bundle: Path) -> None:
    """Export without what random weights make meaningless: comparison with torch, proof, and the photo of a person.

    In the comparison, nearly equal scores would decide.
    """
    from automask.export import pipeline
    from automask.export.built_in import MOBILE_SAM
    from automask.export.catalogue import choose, find_source
    from automask.export.combined import combine
    from automask.export.figures import Report
    from automask.export.model import Model
    from automask.sense import Sense

    source = find_source(choose(str(checkpoint)), parts={"whole", "finder"}, revision=None, image_size=None)
    if source.part == "finder":
        drawer = find_source(choose(MOBILE_SAM), parts={"drawer"}, revision=None, image_size=None)
        source = combine(source, drawer)

    def load() -> Model:
        model = found.load()
        model.reference = lambda _: None  # type: ignore[method-assign, assignment, return-value]
        return model

    found, source = source, replace(source, load=load)
    details = pipeline.ExportOptions(checkpoint.parent.name, PRECISIONS, optional=(), optimize=False, photo=None)
    # Without WordNet, which would add thousands of words that no prompt here has.
    without = {"HF_HUB_OFFLINE": "1", "XDG_CACHE_HOME": str(checkpoint.parent / "cache")}
    skipped = patch.multiple(
        pipeline, _measure=lambda *_, **__: Report([]), add_proof=lambda *_: None, check_sense=lambda *_: Sense(None)
    )
    with patch.dict(os.environ, without), skipped:
        pipeline.export_bundle(bundle, source, details, force=False, progress=lambda _: None)


@cache
def labels() -> dict[int, str]:
    """Return the 80 labels of COCO, by number."""
    import automask

    return dict(enumerate(automask.load(device="cpu").vocabulary))


def _save_tiny(name: str, folder: Path) -> None:
    from support import label_set_checkpoints, owl_checkpoints

    if name == "owlvit":
        owl_checkpoints.checkpoint(folder, "owlvit")
    else:
        label_set_checkpoints.save_checkpoint(folder, "regions", name, tuple(labels().values()))


def _save_owl(folder: Path) -> None:
    from support.owl_checkpoints import checkpoint

    layers: dict[str, Any] = {"num_hidden_layers": 12}
    vision = {**layers, "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "patch_size": 32}
    text = {**layers, "hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8, "vocab_size": 49408}
    checkpoint(folder, "owlvit", size=768, vision_config=vision, text_config=text, projection_dim=512)


def _save_omdet(folder: Path) -> None:
    from transformers import CLIPTokenizerFast, DetrImageProcessor, OmDetTurboConfig, OmDetTurboForObjectDetection

    from support.clip_vocabulary import MERGES, write_vocabulary

    words = write_vocabulary(folder, MERGES)
    ends = {"bos_token_id": words - 2, "eos_token_id": words - 1, "pad_token_id": words - 1}
    config = OmDetTurboConfig(
        use_timm_backbone=False,  # transformers' own Swin-T, of the same size
        backbone=None,
        apply_layernorm_after_vision_backbone=False,
        text_config={"model_type": "clip_text_model", "projection_dim": 512, "vocab_size": 49408, **ends},
    )
    OmDetTurboForObjectDetection(config).save_pretrained(folder)
    CLIPTokenizerFast.from_pretrained(folder, model_max_length=77).save_pretrained(folder)
    mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    size = {"height": 640, "width": 640}
    DetrImageProcessor(size=size, do_rescale=False, do_pad=False, image_mean=mean, image_std=std).save_pretrained(
        folder
    )


def _save_grounding_dino(folder: Path) -> None:
    from support.grounding_dino_checkpoints import checkpoint

    checkpoint(folder, "grounding-dino", {}, noise=0.01)


def _save_d_fine(folder: Path) -> None:
    import transformers as tf

    backbone = {
        "model_type": "hgnet_v2", "stem_channels": [3, 16, 16], "embedding_size": 16,
        "stage_in_channels": [16, 64, 256, 512], "stage_mid_channels": [16, 32, 64, 128],
        "stage_out_channels": [64, 256, 512, 1024], "hidden_sizes": [64, 256, 512, 1024],
        "stage_num_blocks": [1, 1, 2, 1], "depths": [1, 1, 2, 1], "stage_numb_of_layers": [3, 3, 3, 3],
        "stage_light_block": [False, False, True, True], "stage_kernel_size": [3, 3, 5, 5],
        "stage_downsample": [False, True, True, True], "use_learnable_affine_block": True,
        "out_features": ["stage2", "stage3", "stage4"], "out_indices": [2, 3, 4],
    }  # fmt: skip
    config = tf.DFineConfig(
        backbone_config=backbone,
        encoder_in_channels=[256, 512, 1024],
        decoder_n_points=[3, 6, 3],
        decoder_layers=3,
        depth_mult=0.34,
        hidden_expansion=0.5,
        anchor_image_size=None,
        id2label=labels(),
        label2id={label: number for number, label in labels().items()},
    )
    tf.DFineForObjectDetection(config).save_pretrained(folder)
    tf.RTDetrImageProcessor(size={"height": 640, "width": 640}).save_pretrained(folder)


def _save_eomt(folder: Path) -> None:
    import transformers as tf

    config = tf.EomtConfig(
        hidden_size=384,
        num_attention_heads=6,
        num_hidden_layers=12,
        num_blocks=3,
        image_size=640,
        id2label=labels(),
        label2id={label: number for number, label in labels().items()},
    )
    tf.EomtForUniversalSegmentation(config).save_pretrained(folder)
    tf.EomtImageProcessor(size={"shortest_edge": 640, "longest_edge": 640}, do_pad=True).save_pretrained(folder)


MODELS: Mapping[str, OpenModel] = {
    "omdet": OpenModel("OmDet-Turbo-T, 640 px", _save_omdet, reads_text=True),
    "grounding-dino": OpenModel("Grounding DINO-T, 640 px", _save_grounding_dino, reads_text=True),
    "owlvit": OpenModel("OWL-ViT B/32, 768 px", _save_owl, reads_text=True),
    "d-fine": OpenModel("D-FINE-S, 640 px", _save_d_fine, reads_text=False),
    "eomt": OpenModel("EoMT-S, 640 px", _save_eomt, reads_text=False),
}


def main(name: str, folder: Path) -> None:
    """Save a checkpoint of the real size and export it."""
    import torch

    torch.manual_seed(0)
    MODELS[name].save(folder / "checkpoint")
    _export(folder / "checkpoint", folder / "bundle")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
