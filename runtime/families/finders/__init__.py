"""Finders by the name that a manifest gives. A new finder is one file and one row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .finder import Detections, Finder
from .grounding_dino import GroundingDino
from .grounding_dino_whole import GroundingDinoWhole
from .labels import Labels
from .omdet import OmDet
from .owl import Owl
from .owl_whole import OwlWhole
from .picodet import PicoDet

__all__ = ["FINDERS", "Detections", "Finder"]

FINDERS: Final[Mapping[str, type[Finder[Any]]]] = {
    "grounding-dino": GroundingDino,
    "grounding-dino-whole": GroundingDinoWhole,
    "labels": Labels,
    "omdet": OmDet,
    "owl": Owl,
    "owl-whole": OwlWhole,
    "picodet": PicoDet,
}
"""Finders by the name that a manifest gives; see `automask.families.boxes`."""
