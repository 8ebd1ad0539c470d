"""Writing `automask.json`, the description of a bundle that `automask.bundle` reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .bundle import MANIFEST, SCHEMA_VERSION, Terms, sha256
from .publish import write_json

__all__ = ["describe_bundle", "variant_name", "write_manifest"]


def variant_name(role: str, precision: str) -> str:
    """Return the file name of a graph: float32 is the plain one."""
    return f"{role}.onnx" if precision == "fp32" else f"{role}.{precision}.onnx"


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
    terms: Sequence[Terms] = (),
    **more: object,
) -> dict[str, Any]:
    """Describe the files in a folder: all of the manifest but ``parity``, what was measured.

    Parameters
    ----------
    folder
        Holds every file of the bundle but the manifest and the model card.
    name, family, description, licence, sources, image, text, calibration, kinds, terms
        As in `Bundle`.
    exported_with
        Version by package; empty for graphs that were made elsewhere.
    graphs
        Files by precision, and described inputs and outputs, by role.
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
        **({"terms": [asdict(one) for one in terms]} if terms else {}),
        "sources": [dict(source) for source in sources],
        **({"exported_with": dict(exported_with)} if exported_with else {}),
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
