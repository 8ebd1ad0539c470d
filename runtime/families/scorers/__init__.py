"""Scorers by the name that a manifest gives. A new scorer is one file and one row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .clipseg import CLIPSeg
from .clipseg_whole import CLIPSegWhole
from .label_map import LabelMap
from .scorer import Scorer

__all__ = ["SCORERS", "Scorer"]

SCORERS: Final[Mapping[str, type[Scorer[Any]]]] = {
    "clipseg": CLIPSeg,
    "clipseg-whole": CLIPSegWhole,
    "labels": LabelMap,
}
"""Scorers by the name that a manifest gives; see `automask.families.dense`."""
