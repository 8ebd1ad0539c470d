"""What a CLIPSeg bundle holds: graphs, tokenizer, settings, manifest, and the parity of it all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from automask.bundle import MANIFEST

from ...checkpoint import Checkpoint, CheckpointError
from ...figures import Figure, check
from ...fusion import fused
from ...graphs import save
from ...parts import Part, export_parts, quiet
from ...picture import picture
from ...precision import half, integer
from ...publish import variant_name, write_json
from . import parity
from .card import model_card
from .config import TASK, submodels
from .inputs import image_settings, load_processor, load_tokenizer, write_tokenizer
from .manifest import manifest
from .masks import THRESHOLD
from .modules import DEPTH

if TYPE_CHECKING:
    from transformers import CLIPSegForImageSegmentation

    from .build import Request

__all__ = ["Report", "fill", "load_model"]

_WRITERS: Mapping[str, Callable[[Path, Path], object]] = {"fp32": shutil.copyfile, "fp16": half, "int8": integer}


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


def fill(bundle: Path, work: Path, checkpoint: Checkpoint, request: Request, echo: Callable[[str], None]) -> Report:
    """Write everything that belongs into a bundle, and measure it.

    Parameters
    ----------
    bundle, work
        Empty folders: what is published, and what is not.
    echo
        Called with lines that tell how it goes.

    Raises
    ------
    CheckpointError, TokenizerError, ParameterError, ParityError
        See `build`.
    """
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
    echo("parity: the checkpoint itself, in torch")
    given = parity.examples(model, tokenizer, processor, picture(request.photo))
    report = _measure(bundle, parts, request.precisions, given, echo)
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
    precisions: Sequence[str],
    given: parity.Examples,
    echo: Callable[[str], None],
) -> Report:
    cases = parity.module_cases(parts, given)
    figures: list[Figure] = []
    basis = {}
    # The decoder is in float32 also where nothing else is.
    for precision in dict.fromkeys([*precisions, "fp32"]):
        figures += parity.graph_figures(cases, bundle, precision)
        if precision in precisions:
            echo(f"  {precision}")
            files = {role: _file(bundle, role, precision) for role in parts}
            ends, basis[precision] = parity.end_to_end(bundle, files, precision, given)
            figures += ends
    check(figures)
    return Report(figures, basis)


def _file(bundle: Path, role: str, precision: str) -> str:
    name = variant_name(role, precision)
    return name if (bundle / name).is_file() else variant_name(role, "fp32")
