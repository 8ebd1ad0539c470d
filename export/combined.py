"""A finder and a drawer in one bundle of the family `boxes`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from automask.bundle import Bundle
from automask.cache import Arrays, ByteCache
from automask.cpu_graphs import CpuGraphs, assemble
from automask.families.drawers import DRAWERS
from automask.families.family import Picture, Stopwatch

from .figures import Figure
from .model import Model
from .parity import Agreement, Case, Image, Reference, relative_error
from .source import Source

__all__ = ["Combined", "combine"]

_DRAWER_ROLES = ("image_encoder", "mask_decoder")
_FP32_RELATIVE = 1e-3


def combine(finder: Source, drawer: Source) -> Source:
    """Return the source of a bundle that finds boxes with one model and draws masks into them with another."""
    same = finder.licence.lower() == drawer.licence.lower()
    return Source(
        name=finder.name,
        part="whole",
        licence=finder.licence if same else f"{finder.name}: {finder.licence}; {drawer.name}: {drawer.licence}",
        terms=(*finder.terms, *drawer.terms),
        weights=finder.weights + drawer.weights,
        # One is exported after the other; both are loaded.
        memory=max(finder.memory + drawer.weights, drawer.memory + finder.weights),
        describe=lambda: [*finder.describe(), *drawer.describe()],
        load=lambda: Combined(finder.load(), drawer.load()),
    )


class Combined(Model):
    """A model made of a finder and a drawer."""

    family = "boxes"

    def __init__(self, finder: Model, drawer: Model) -> None:
        self._finder, self._drawer = finder, drawer
        self.description = f"{finder.description} {drawer.description}"
        self.calibration = finder.calibration
        self.packages = tuple(dict.fromkeys([*finder.packages, *drawer.packages]))
        self.float32_roles = finder.float32_roles | drawer.float32_roles
        self.float32_nodes = {**finder.float32_nodes, **drawer.float32_nodes}
        self.kinds = {**finder.kinds, **drawer.kinds}  # type: ignore[misc]  # of this pair, not of the class
        self.task = finder.task  # type: ignore[misc]  # likewise
        self.image_size = finder.image_size
        self.submodels = {**finder.submodels, **drawer.submodels}
        self.image = {**finder.image, **drawer.image}
        if len(self.submodels) < len(finder.submodels) + len(drawer.submodels):
            raise ValueError(f"finder and drawer must have different roles, both have one of {list(self.submodels)}")

    def copy_graphs(self, bundle: Path) -> dict[str, Any]:
        """Copy the finished graphs of both; see `Model`."""
        return {**self._finder.copy_graphs(bundle), **self._drawer.copy_graphs(bundle)}

    def write_settings(self, bundle: Path) -> dict[str, Any]:
        """Write the settings of both, the drawer's as ``drawer_…``; return the finder's ``text``; see `Model`."""
        text = self._finder.write_settings(bundle)
        self.notes = self._finder.notes
        with TemporaryDirectory(dir=bundle.parent) as temporary:
            self._drawer.write_settings(Path(temporary))
            for file in Path(temporary).iterdir():
                file.rename(bundle / f"drawer_{file.name}")
        return text

    def reference(self, photo: Image) -> CombinedReference:
        """Run both checkpoints; see `Model`."""
        return CombinedReference(self._finder.reference(photo), self._drawer.reference(photo), photo)

    def model_card(self, manifest: Mapping[str, Any]) -> str:
        """Write the finder's card, and what draws the masks; see `Model`."""
        of_finder = {role: graph for role, graph in manifest["graphs"].items() if role in self._finder.submodels}
        others = [role for role in manifest["graphs"] if role not in of_finder]
        rows = "\n".join(f"| {role} | {', '.join(manifest['graphs'][role]['variants'].values())} |" for role in others)
        card = self._finder.model_card({**manifest, "graphs": of_finder})
        return f"{card}\n## Masks\n\n{self._drawer.description}\n\n| graph | files |\n|---|---|\n{rows}\n"


@dataclass(frozen=True)
class CombinedReference:
    """The references of both, and a photo for the whole chain: a `Reference`."""

    finder: Reference
    drawer: Reference
    photo: Image

    @cached_property
    def cases(self) -> Mapping[str, Sequence[Case]]:
        """Inputs and expected outputs of each graph, by role."""
        return {**self.finder.cases, **self.drawer.cases}

    def compare(self, bundle: Bundle, graphs: CpuGraphs) -> CombinedAgreement:
        """Compare the boxes, the masks, and the best object's mask as a user gets it; see `Reference`."""
        parts = (self.finder.compare(bundle, graphs), self.drawer.compare(bundle, graphs))
        return CombinedAgreement(parts, _compare_chain(bundle, graphs, self.photo))


@dataclass(frozen=True)
class CombinedAgreement:
    """The agreements of both, and of the whole chain: an `Agreement`.

    Attributes
    ----------
    chain
        Relative error of the best object's mask; None if no object is found at any score.
    """

    parts: Sequence[Agreement]
    chain: float | None

    def figures(self, precision: str) -> list[Figure]:
        """Return the figures; those that decide have limits."""
        figures = [figure for part in self.parts for figure in part.figures(precision)]
        if self.chain is not None:
            limit = _FP32_RELATIVE if precision == "fp32" else None
            figures.append(Figure(f"{precision} chain: relative error of the best object's mask", self.chain, limit))
        return figures

    def criterion(self, precision: str) -> str:
        """Describe the figures that decide, and why."""
        return "; and by ".join(text for part in self.parts if (text := part.criterion(precision)))


def _compare_chain(bundle: Bundle, graphs: CpuGraphs, photo: Image) -> float | None:
    """Return the relative error of the mask that a user gets of the best object, beside its box drawn alone in float32.

    A finder's boxes and a drawer's masks may each be right, and one still be scaled for another image than the other.
    """
    segmenter = assemble(bundle, graphs)
    result = segmenter.mask(photo, segmenter.outline.sample_prompt, threshold=0, edges="model", return_mask=False)
    if not result.instances:
        return None
    best = result.instances[0]
    exact = graphs.in_precision("fp32")
    alone = {role: exact[role] for role in _DRAWER_ROLES}
    drawer = DRAWERS[bundle.kinds["drawer"]](bundle, alone, cache=ByteCache[Arrays](0, len))
    picture = Picture(photo, photo.shape[:2], b"", photo)
    (expected,) = drawer.draw(picture, np.array([best.box], np.float32), Stopwatch())
    return relative_error(best.logits, expected)
