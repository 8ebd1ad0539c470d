"""MobileSAM out of the built-in bundle: what draws the masks of a model that only finds boxes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bundle import MANIFEST
from ..lookup import locate_bundle

__all__ = ["MOBILE_SAM", "MobileSam", "read_mobile_sam"]

MOBILE_SAM = "mobile-sam"
"""The name of this drawer."""

_ROLES = ("image_encoder", "mask_decoder")
_ORIGIN = "MobileSAM"  # in ``sources`` of the built-in bundle, whose other files are the finder's


@dataclass(frozen=True, slots=True)
class MobileSam:
    """Finished graphs.

    Attributes
    ----------
    files
        Each graph, and the weights beside it.
    graphs, image, sources
        As the manifest has them.
    """

    files: Sequence[Path]
    graphs: Mapping[str, Any]
    image: Mapping[str, Any]
    sources: Sequence[Mapping[str, str]]

    @property
    def licence(self) -> str:
        """Licence of the weights."""
        return self.sources[0]["licence"]


def read_mobile_sam() -> MobileSam:
    """Return the part of the built-in bundle that draws."""
    folder = locate_bundle("default")
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return MobileSam(
        [folder / file for file in manifest["files"] if file.startswith(_ROLES)],
        {role: manifest["graphs"][role] for role in _ROLES},
        {"image_encoder": manifest["image"]["image_encoder"]},
        [source for source in manifest["sources"] if _ORIGIN in source["what"]],
    )
