"""Folders that automask writes to."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["bundles_folder", "cache_folder", "data_folder"]


def cache_folder() -> Path:
    """Return the folder for files that are slow to make again: ``$XDG_CACHE_HOME/automask``, else in ``~/.cache``."""
    return _base("XDG_CACHE_HOME", ".cache") / "automask"


def bundles_folder() -> Path:
    """Return the folder of the user's bundles: ``bundles`` in the data folder."""
    return data_folder() / "bundles"


def data_folder() -> Path:
    """Return the folder for files to keep: ``$XDG_DATA_HOME/automask``, else in ``~/.local/share``."""
    return _base("XDG_DATA_HOME", ".local/share") / "automask"


def _base(variable: str, default: str) -> Path:
    base = os.environ.get(variable)
    return Path(base) if base else Path.home() / default
