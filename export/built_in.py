"""MobileSAM out of the built-in bundle: a drawer whose graphs are finished, so that they are copied, without torch."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from automask.bundle import Bundle
from automask.pull.mobile_sam import MOBILE_SAM, read_mobile_sam
from automask.session import Session

from .figures import Figure
from .model import Model
from .parity import Case, Image
from .source import Source

__all__ = ["MOBILE_SAM", "mobile_sam"]

_MEMORY = 300 << 20


def mobile_sam() -> Source:
    """Return the source of the drawer of the built-in bundle."""
    drawer = read_mobile_sam()
    return Source(
        name=MOBILE_SAM,
        part="drawer",
        licence=drawer.licence,
        terms=(),
        weights=sum(file.stat().st_size for file in drawer.files),
        memory=_MEMORY,
        describe=lambda: drawer.sources,
        load=MobileSam,
    )


class MobileSam(Model):
    """The graphs of the built-in bundle that draw masks."""

    family = "boxes"
    task = "mask-generation"
    kinds: ClassVar[Mapping[str, str]] = {"drawer": "sam"}
    description = "Draws the masks with MobileSAM, copied from the built-in model."
    packages = ()

    def __init__(self) -> None:
        self._drawer = read_mobile_sam()
        self.submodels = {}
        self.image = self._drawer.image
        self.image_size = self.image["image_encoder"]["size"]

    def copy_graphs(self, bundle: Path) -> dict[str, Any]:
        """Copy the graphs; see `Model`."""
        for file in self._drawer.files:
            shutil.copyfile(file, bundle / file.name)
        return dict(self._drawer.graphs)

    def write_settings(self, bundle: Path) -> dict[str, Any]:
        """Write nothing: the graphs need no settings besides the manifest's."""
        del bundle
        return {}

    def reference(self, photo: Image) -> CopiedReference:
        """Return a reference without cases: a copy needs no comparison."""
        del photo
        return CopiedReference()

    def model_card(self, manifest: Mapping[str, Any]) -> str:
        """Return the description."""
        del manifest
        return self.description


@dataclass(frozen=True)
class CopiedReference:
    """Of graphs that are copied unchanged: a `Reference`, and the `Agreement` of any precision."""

    cases: Mapping[str, Sequence[Case]] = field(default_factory=dict)

    def compare(self, bundle: Bundle, graphs: Mapping[str, Session]) -> CopiedReference:
        """Return itself."""
        del bundle, graphs
        return self

    def figures(self, precision: str) -> list[Figure]:
        """Return no figure."""
        del precision
        return []

    def criterion(self, precision: str) -> str:
        """Return nothing: no figure decides."""
        del precision
        return ""
