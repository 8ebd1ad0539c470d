"""The part of a loaded model that belongs to its device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from .cache import Arrays, ByteCache
from .families.family import Family

__all__ = ["Running", "Standing"]

Standing: TypeAlias = Literal["proven", "not proven", "skipped"]


@dataclass(frozen=True, slots=True)
class Running:
    """The part of a loaded model that belongs to its device.

    Attributes
    ----------
    family
        Runs the graphs.
    cache
        The cache of the family.
    precision, standing, warnings
        As in `Segmenter`.
    """

    family: Family[Any]
    cache: ByteCache[Arrays]
    precision: str = ""
    standing: Standing = "skipped"
    warnings: tuple[str, ...] = ()
