"""`proof.json` of a bundle that is being exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from automask.bundle import read_bundle, sha256
from automask.manifest import write_manifest
from automask.proof import FILE, make_proof
from automask.publish import write_json

__all__ = ["add_proof"]


def add_proof(bundle: Path, manifest: dict[str, Any]) -> None:
    """Write what a bundle makes of a photo, in float32 on the CPU, and name the file in its manifest.

    Parameters
    ----------
    bundle
        Folder with everything but the proof.
    manifest
        Its manifest; gets the entry ``proof``, and the hash of the file.

    Raises
    ------
    BundleError
        A graph cannot be opened, or the model fails on the photo.
    """
    from .float16 import open_on_cpu

    write_manifest(bundle, manifest)  # for the proof, which reads the bundle as the runtime does
    write_json(bundle / FILE, make_proof(read_bundle(bundle), open_on_cpu).to_json(), indent=None)
    manifest["proof"] = FILE
    manifest["files"] = dict(sorted({**manifest["files"], FILE: sha256(bundle / FILE)}.items()))
    write_manifest(bundle, manifest)
