"""A CLIPSeg bundle, from a checkpoint to a finished folder, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from automask.bundle import MANIFEST

from .. import checkpoint as checkpoints
from ..checkpoint import Checkpoint
from ..parts import export_parts
from ..precision import half, integer, variant_name
from ..publish import check_output, check_space, staged, write_json
from .config import TASK, submodels
from .inputs import image_settings, load_processor, load_tokenizer, write_tokenizer
from .manifest import LICENCE_QUESTION, licence_is_open, manifest

if TYPE_CHECKING:
    from transformers import CLIPSegForImageSegmentation

__all__ = ["DEFAULT_MODEL", "Request", "build"]

DEFAULT_MODEL = "CIDAS/clipseg-rd64-refined"
# Megabytes on disk for each byte of the checkpoint: what is written, and what the exporter holds beside it.
_SPACE = {"fp32": 1.0, "fp16": 0.5, "int8": 0.4}
_WORK = 1.0


@dataclass(frozen=True, slots=True)
class Request:
    """What to export.

    Attributes
    ----------
    model
        Folder or Hub id.
    precisions
        Some of ``fp32``, ``fp16``, ``int8``.
    size
        Side of the image in pixels; the checkpoint's own if None.
    optimize
        Also fuse for ONNX Runtime.
    photo
        What to measure parity on; a drawn picture if None.
    """

    model: str = DEFAULT_MODEL
    revision: str | None = None
    precisions: Sequence[str] = ("fp32", "int8")
    size: int | None = None
    optimize: bool = False
    photo: Path | None = None


def build(output: Path, request: Request, *, force: bool, echo: Callable[[str], None]) -> None:
    check_output(output, force=force)
    echo(f"checkpoint {request.model}")
    checkpoint = checkpoints.find(request.model, revision=request.revision, supported=["clipseg"])
    if licence_is_open(checkpoint):
        echo(f"licence: {LICENCE_QUESTION}")
    else:
        echo(f"licence: {checkpoint.licence}")
    check_space(output, _needed(checkpoint, request.precisions))
    with staged(output) as (bundle, work):
        _fill(bundle, work, checkpoint, request, echo)


def _needed(checkpoint: Checkpoint, precisions: Sequence[str]) -> int:
    size = sum(file.stat().st_size for file in checkpoint.weights)
    return int(size * (_WORK + sum(_SPACE[precision] for precision in precisions)))


def _fill(bundle: Path, work: Path, checkpoint: Checkpoint, request: Request, echo: Callable[[str], None]) -> None:
    tokenizer = load_tokenizer(checkpoint)
    processor = load_processor(checkpoint, request.size)
    model = load_model(checkpoint)
    image = image_settings(processor)
    parts = submodels(model, image["size"])
    echo("graphs")
    files = export_parts(parts, work, task=TASK)
    variants = _write_variants(files, bundle, request.precisions, echo)
    text = write_tokenizer(tokenizer, model.config.text_config.max_position_embeddings, bundle / "tokenizer.json")
    processor.to_json_file(bundle / "preprocessor_config.json")
    model.config.to_json_file(bundle / "config.json")
    write_json(
        bundle / MANIFEST, manifest(bundle, checkpoint, parts, variants, image=image, text=text, parity={}), indent=1
    )


def load_model(checkpoint: Checkpoint) -> CLIPSegForImageSegmentation:
    from transformers import CLIPSegForImageSegmentation

    model, report = CLIPSegForImageSegmentation.from_pretrained(
        checkpoint.folder, local_files_only=True, output_loading_info=True
    )
    return model.float().eval()


def _write_variants(files, bundle, precisions, echo):
    variants = {}
    for role, file in files.items():
        variants[role] = []
        for precision in precisions:
            if precision == "int8" and role == "mask_decoder":
                precision = "fp32"
            if precision in variants[role]:
                continue
            target = bundle / variant_name(role, precision)
            echo(f"  {target.name}")
            if precision == "fp32":
                import shutil

                shutil.copy(file, target)
            elif precision == "fp16":
                half(file, target)
            else:
                integer(file, target)
            variants[role].append(precision)
    return variants
