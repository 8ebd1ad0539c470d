"""Drawers by the name that a manifest gives. A new drawer is one file and one row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .drawer import Drawer, Drawing, Hint
from .sam import Sam, Sam2

__all__ = ["DRAWERS", "Drawer", "Drawing", "Hint"]

DRAWERS: Final[Mapping[str, type[Drawer]]] = {"sam": Sam, "sam2": Sam2}
"""Drawers by the name that a manifest gives; see `automask.families.boxes`."""
