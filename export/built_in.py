"""MobileSAM out of the built-in bundle: a drawer whose graphs are finished, so that they are copied, without torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from automask.bundle import MANIFEST, Bundle
from automask.lookup import locate_bundle
from automask.session import Session

from .figures import Figure
from .model import Model
from .parity import Case, Image
from .source import Source

__all__ = ["MOBILE_SAM", "mobile_sam"]

MOBILE_SAM = "mobile-sam"
"""The name of this drawer on the command line."""

_ROLES = ("image_encoder", "mask_decoder")
_ORIGIN = "MobileSAM"  # in ``sources`` of the built-in bundle, whose other files are the finder's
_MEMORY = 300 << 20


def mobile_sam() -> Source:
    """Return the source of the drawer of the built-in bundle."""
    folder, manifest = _built_in()
    sources = [source for source in manifest["sources"] if _ORIGIN in source["what"]]
    return Source(
        name=MOBILE_SAM,
        part="drawer",
        licence=sources[0]["licence"],
        weights=sum((folder / file).stat().st_size for file in _files(manifest)),
        memory=_MEMORY,
        describe=lambda: sources,
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
        self._folder, self._manifest = _built_in()
        settings = self._manifest["image"]["image_encoder"]
        self.submodels = {}
        self.image = {"image_encoder": settings}
        self.image_size = settings["size"]

    def copy_graphs(self, bundle: Path) -> dict[str, Any]:
        """Copy the graphs; see `Model`."""
        for file in _files(self._manifest):
            shutil.copyfile(self._folder / file, bundle / file)
        return {role: self._manifest["graphs"][role] for role in _ROLES}

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


def _built_in() -> tuple[Path, dict[str, Any]]:
    folder = locate_bundle("default")
    return folder, json.loads((folder / MANIFEST).read_text("utf-8"))


def _files(manifest: Mapping[str, Any]) -> list[str]:
    """Return the graphs of both roles, and their weights beside them."""
    return [file for file in manifest["files"] if file.startswith(_ROLES)]
