"""`automask.json`: the description of a bundle, as the runtime reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automask.bundle import MANIFEST, SCHEMA_VERSION, sha256

from .publish import write_json

if TYPE_CHECKING:
    from .graphs import Tensor

__all__ = [
    "IDENTITY",
    "PRECISIONS",
    "describe_bundle",
    "describe_graph",
    "variant_name",
    "versions",
    "write_card",
    "write_manifest",
]

PRECISIONS = ("fp32", "fp16", "int8")
# Calibration that keeps the raw scores.
IDENTITY = ((0, 0), (1, 1))


def variant_name(role: str, precision: str) -> str:
    """Return the file name of a graph: float32 is the plain one."""
    return f"{role}.onnx" if precision == "fp32" else f"{role}.{precision}.onnx"


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the installed version of each package, for ``exported_with``."""
    return {name: metadata.version(name) for name in packages}


def describe_graph(
    role: str, precisions: Iterable[str], inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Describe one graph: files by precision, in order of preference, and the shapes and types of its tensors."""
    return {
        "variants": {precision: variant_name(role, precision) for precision in precisions},
        "inputs": {name: tensor.described() for name, tensor in inputs.items()},
        "outputs": {name: tensor.described() for name, tensor in outputs.items()},
    }


def describe_bundle(
    folder: Path,
    *,
    name: str,
    family: str,
    description: str,
    licence: str,
    sources: Sequence[Mapping[str, str]],
    exported_with: Mapping[str, str],
    graphs: Mapping[str, Any],
    image: Mapping[str, Any],
    text: Mapping[str, Any],
    calibration: Sequence[Sequence[float]],
    kinds: Mapping[str, str] | None = None,
    **more: object,
) -> dict[str, Any]:
    """Describe the files in a folder: all of the manifest but ``parity``, what was measured.

    Parameters
    ----------
    folder
        Holds every file of the bundle but the manifest and the model card.
    name, family, description, licence, sources, image, text, calibration, kinds
        As in `automask.bundle.Bundle`.
    exported_with
        Version by package.
    graphs
        `describe_graph` by role.
    more
        Further entries, which the runtime does not read.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "family": family,
        **({"kinds": dict(kinds)} if kinds else {}),
        "description": description,
        "licence": licence,
        "sources": [dict(source) for source in sources],
        "exported_with": dict(exported_with),
        **more,
        "files": {path.name: sha256(path) for path in sorted(folder.iterdir())},
        "graphs": dict(graphs),
        "image": dict(image),
        "text": dict(text),
        "calibration": [list(point) for point in calibration],
    }


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest beside the files that it describes."""
    write_json(folder / MANIFEST, manifest, indent=1)


def write_card(folder: Path, card: str) -> None:
    """Write the model card."""
    (folder / "MODEL_CARD.md").write_text(card, encoding="utf-8")
