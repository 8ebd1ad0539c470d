"""`automask.json` of a CLIPSeg bundle, and what is to be said about its licence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automask.bundle import sha256

from ...publish import variant_name

if TYPE_CHECKING:
    from ...checkpoint import Checkpoint
    from ...parts import Part

__all__ = ["LICENCE_QUESTION", "licence", "licence_is_open", "manifest"]

_PACKAGES = (
    "torch", "transformers", "tokenizers", "optimum", "optimum-onnx", "onnx", "onnxslim", "onnxruntime", "numpy",
)  # fmt: skip

LICENCE_QUESTION = (
    "The licence of CLIPSeg's weights is an open question: the authors' repository puts its code under MIT and says "
    "that this does not apply to the model weights; the model card on the Hub (CIDAS) says Apache-2.0. automask "
    "does not settle it: decide whether that is enough for your use."
)


def licence_is_open(checkpoint: Checkpoint) -> bool:
    """Whether the weights are the CLIPSeg authors' own, or by their card or configuration descend from those."""
    said = f"{checkpoint.name} {checkpoint.config.get('_name_or_path', '')} {checkpoint.card}"
    return "cidas/clipseg" in said.lower()


def licence(checkpoint: Checkpoint) -> str:
    """One line for the manifest."""
    said = checkpoint.licence
    return f"{said} (by the model card). {LICENCE_QUESTION}" if licence_is_open(checkpoint) else said


def manifest(
    folder: Path,
    checkpoint: Checkpoint,
    parts: Mapping[str, Part],
    variants: Mapping[str, Sequence[str]],
    *,
    optimized: bool,
    image: Mapping[str, Any],
    text: Mapping[str, Any],
    parity: Mapping[str, Any],
) -> dict[str, Any]:
    """Describe the files in a folder.

    Parameters
    ----------
    folder
        Holds every file of the bundle but the manifest and the model card.
    variants
        Precisions by role.
    optimized
        Whether attention is ONNX Runtime's own operator.
    image, text, parity
        Entries of the manifest that others wrote.
    """
    return {
        "schema_version": 1,
        "name": checkpoint.name.rpartition("/")[2],
        "family": "dense",
        "description": "Draws one mask for whatever a few free words describe (CLIPSeg).",
        "licence": licence(checkpoint),
        "sources": checkpoint.sources(),
        "exported_with": {name: metadata.version(name) for name in ("automask", *_PACKAGES)},
        "optimized": optimized,
        "files": {path.name: sha256(path) for path in sorted(folder.iterdir())},
        "graphs": {role: _graph(role, part, variants[role]) for role, part in parts.items()},
        "image": {"image_encoder": dict(image)},
        "text": dict(text),
        # No operating point is published for text prompts that would be worth moving the default threshold to: the
        # sigmoid's own scores stay as they are.
        "calibration": [[0, 0], [1, 1]],
        "parity": dict(parity),
    }


def _graph(role: str, part: Part, precisions: Sequence[str]) -> dict[str, Any]:
    return {
        "variants": {precision: variant_name(role, precision) for precision in precisions},
        "inputs": {name: tensor.described() for name, tensor in part.inputs.items()},
        "outputs": {name: tensor.described() for name, tensor in part.outputs.items()},
    }
