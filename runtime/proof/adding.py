"""`proof.json` of a bundle that is being made: exported, or pulled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..bundle import read_bundle, sha256
from ..cpu_graphs import OpenedGraphs
from ..manifest import write_manifest
from ..publish import write_json
from .document import FILE
from .making import make_proof

__all__ = ["add_proof"]


def add_proof(bundle: Path, manifest: dict[str, Any], opened: OpenedGraphs | None = None) -> None:
    """Write what a bundle makes of a photo on the CPU, and name the file in its manifest.

    Parameters
    ----------
    bundle
        Folder with everything but the proof.
    manifest
        Its manifest; gets the entry ``proof``, and the hash of the file.
    opened
        As for `make_proof`.

    Raises
    ------
    BundleError
        A graph cannot be opened, or the model fails on the photo.
    """
    write_manifest(bundle, manifest)  # for the proof, which reads the bundle as the runtime does
    write_json(bundle / FILE, make_proof(read_bundle(bundle), opened).to_json(), indent=None)
    manifest["proof"] = FILE
    manifest["files"] = dict(sorted({**manifest["files"], FILE: sha256(bundle / FILE)}.items()))
    write_manifest(bundle, manifest)
