"""A CLIPSeg bundle, from a checkpoint to a finished folder, or nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from automask.bundle import MANIFEST

from .. import checkpoint as checkpoints
from ..checkpoint import Checkpoint, CheckpointError
from ..figures import Figure, check
from ..fusion import fused
from ..graphs import save
from ..parts import Part, export_parts, quiet
from ..picture import picture
from ..precision import half, integer, variant_name
from ..publish import check_output, check_space, staged, write_json
from . import parity
from .card import model_card
from .config import TASK, submodels
from .inputs import image_settings, load_processor, load_tokenizer, write_tokenizer
from .manifest import licence, manifest
from .masks import THRESHOLD
from .modules import DEPTH

if TYPE_CHECKING:
    from transformers import CLIPSegForImageSegmentation

__all__ = ["DEFAULT_MODEL", "Report", "Request", "build", "load_model"]

DEFAULT_MODEL = "CIDAS/clipseg-rd64-refined"
# Megabytes on disk for each byte of the checkpoint: what is written, and what the exporter holds beside it.
_SPACE = {"fp32": 1.0, "fp16": 0.5, "int8": 0.4}
_WORK = 1.0


_WRITERS: Mapping[str, Callable[[Path, Path], object]] = {"fp32": shutil.copyfile, "fp16": half, "int8": integer}


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
        Fuse attention into ONNX Runtime's own operator.
    photo
        What to measure parity on; a drawn picture if None.
    """

    model: str = DEFAULT_MODEL
    revision: str | None = None
    precisions: Sequence[str] = ("fp32", "int8")
    size: int | None = None
    optimize: bool = False
    photo: Path | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured.

    Attributes
    ----------
    figures
        Parity; those with a limit decided.
    basis
        By precision, which figure decides, and why.
    """

    figures: list[Figure]
    basis: dict[str, str]

    def described(self) -> dict[str, Any]:
        """As the manifest says it."""
        return {
            "threshold": THRESHOLD,
            "judged_by": self.basis,
            "figures": check(self.figures),
            "limits": {f.name: f.limit for f in self.figures if f.limit is not None},
        }


def build(output: Path, request: Request, *, force: bool, echo: Callable[[str], None]) -> Report:
    """Build a bundle.

    Parameters
    ----------
    output
        Folder to make. Nothing is left there unless everything succeeded.
    force
        Replace a bundle that is there.
    echo
        Called with lines that tell how it goes.

    Raises
    ------
    OutputError
        The folder exists and is not to be replaced.
    CheckpointNotFoundError, GatedError, ArchitectureError, CheckpointError, TokenizerError
        There is no such checkpoint, or it cannot be exported.
    ParameterError
        The size is not a multiple of the patch size.
    SpaceError
        The disk has no room.
    ParityError
        A graph does not compute what the checkpoint does.
    """
    check_output(output, force=force)
    echo(f"checkpoint: {request.model}")
    checkpoint = checkpoints.find(request.model, revision=request.revision, supported=["clipseg"])
    echo(f"licence: {licence(checkpoint)}")
    check_space(output, _needed(checkpoint, request.precisions))
    with staged(output) as (bundle, work):
        return _fill(bundle, work, checkpoint, request, echo)


def _needed(checkpoint: Checkpoint, precisions: Sequence[str]) -> int:
    size = sum(file.stat().st_size for file in checkpoint.weights)
    return int(size * (_WORK + sum(_SPACE[precision] for precision in precisions)))


def _fill(bundle: Path, work: Path, checkpoint: Checkpoint, request: Request, echo: Callable[[str], None]) -> Report:
    tokenizer, processor = load_tokenizer(checkpoint), load_processor(checkpoint, request.size)
    model = load_model(checkpoint)
    image = image_settings(processor)
    parts = submodels(model, image["size"])
    echo(f"graphs, for photos of {image['size']} x {image['size']} (float32, by optimum)")
    files = export_parts(parts, work, task=TASK)
    variants = {role: _write_variants(role, file, bundle, request, echo) for role, file in files.items()}
    text = write_tokenizer(tokenizer, model.config.text_config.max_position_embeddings, bundle / "tokenizer.json")
    processor.to_json_file(bundle / "preprocessor_config.json")
    model.config.to_json_file(bundle / "config.json")
    echo("parity")
    given = parity.examples(model, tokenizer, processor, picture(request.photo))
    report = _measure(bundle, parts, variants, request.precisions, given)
    entries = {"image": image, "text": text, "parity": report.described()}
    said = manifest(bundle, checkpoint, parts, variants, optimized=request.optimize, **entries)
    write_json(bundle / MANIFEST, said, indent=1)
    (bundle / "MODEL_CARD.md").write_text(model_card(said), encoding="utf-8")
    return report


def load_model(checkpoint: Checkpoint) -> CLIPSegForImageSegmentation:
    """Read the weights, as float32; a missing one is an error.

    Raises
    ------
    CheckpointError
        The weights cannot be read, are incomplete, or are of a shape that the three graphs do not have.
    """
    from transformers import CLIPSegForImageSegmentation

    try:
        with quiet():
            model, found = CLIPSegForImageSegmentation.from_pretrained(
                checkpoint.folder, local_files_only=True, output_loading_info=True, dtype="float32"
            )
    except Exception as error:  # torch, safetensors and pickle each raise their own
        raise CheckpointError(f"the weights of {checkpoint.name} cannot be read: {error}") from error
    # transformers would make these up, at random.
    if missing := sorted(found["missing_keys"]):
        raise CheckpointError(f"the weights of {checkpoint.name} lack {len(missing)} tensors, such as {missing[0]}")
    config = model.config
    if len(config.extract_layers) != DEPTH or not 0 <= config.conditional_layer < DEPTH:
        raise CheckpointError(
            f"{checkpoint.name} must read {DEPTH} layers and condition one of the first {DEPTH}, got extract_layers "
            f"{list(config.extract_layers)} and conditional_layer {config.conditional_layer}"
        )
    whole: CLIPSegForImageSegmentation = model.eval()
    return whole


def _write_variants(role: str, file: Path, bundle: Path, request: Request, echo: Callable[[str], None]) -> list[str]:
    # The decoder is small and its errors go straight into the mask: in int8 it is float32.
    wanted = dict.fromkeys("fp32" if role == "mask_decoder" and p == "int8" else p for p in request.precisions)
    for precision in wanted:
        target = bundle / variant_name(role, precision)
        _WRITERS[precision](file, target)
        if request.optimize:  # last: the quantiser cannot see through ONNX Runtime's own operators
            save(fused(onnx.load(target)), target)
        echo(f"  {target.name:32} {target.stat().st_size / 1e6:9.3f} MB")
    return list(wanted)


def _measure(
    bundle: Path,
    parts: Mapping[str, Part],
    variants: Mapping[str, Sequence[str]],
    precisions: Sequence[str],
    given: parity.Examples,
) -> Report:
    cases = parity.module_cases(parts, given)
    figures: list[Figure] = []
    basis = {}
    for precision in precisions:
        files = {r: variant_name(r, precision if precision in has else "fp32") for r, has in variants.items()}
        ends, basis[precision] = parity.end_to_end(bundle, files, precision, given)
        figures += [*parity.graph_figures(cases, bundle, precision), *ends]
    check(figures)
    return Report(figures, basis)
