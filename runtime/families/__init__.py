"""The registry of families: how the graphs of a bundle fit together. A new family is one file and one row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .boxes import Boxes
from .concept import Concepts
from .dense import Dense
from .family import Family
from .regions import Regions

__all__ = ["FAMILIES"]

FAMILIES: Final[Mapping[str, type[Family[Any]]]] = {
    "boxes": Boxes,
    "concept": Concepts,
    "dense": Dense,
    "regions": Regions,
}
"""Families by the name that a manifest gives under ``family``."""
