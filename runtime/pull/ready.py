"""Repositories that are bundles already: taken as they are."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..bundle import MANIFEST, read_bundle
from ..errors import ParameterError
from ..publish import check_space
from .repository import Repository

__all__ = ["write_ready"]


def write_ready(repository: Repository, folder: Path, precisions: Iterable[str]) -> dict[str, Any]:
    """Copy a bundle, after its manifest and the SHA-256 of each file were checked.

    Parameters
    ----------
    folder
        An empty folder.
    precisions
        Must be empty: a bundle is taken whole.

    Returns
    -------
    dict
        Its manifest, which is not written yet.

    Raises
    ------
    BundleError
        The manifest is malformed, or a file is missing or not the one listed.
    HubError, SpaceError
        As `Repository.fetch`.
    ParameterError
        There are precisions.
    """
    bundle = read_bundle(repository.folder)
    if wanted := list(precisions):
        has = ", ".join(bundle.precisions)
        raise ParameterError("--precision", f"be left out: {repository.name} is a bundle, with {has}", wanted)
    repository.fetch(bundle.files)
    bundle.check()
    check_space(folder, bundle.size)
    for name in {*bundle.files, *repository.small_files}:
        shutil.copyfile(repository.folder / name, folder / name)
    manifest = repository.read_json(MANIFEST)
    return {**manifest, "sources": [*manifest["sources"], repository.source(bundle.licence)]}
