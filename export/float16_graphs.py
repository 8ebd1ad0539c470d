"""The float16 graphs of a bundle, in which as much is float32 as they need to compute the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from automask.bundle import graph_files, sha256
from automask.manifest import variant_name
from automask.session import Session

from .parity import Reference

if TYPE_CHECKING:
    from .float32_nodes import Float32Nodes

__all__ = ["LIMITS", "Float16Graphs"]

LIMITS = (0.02, 0.005, 0.00125)
"""Largest relative error of a graph: the first one is what a device may have when a model is loaded; smaller ones are
for models of which the masks do not agree with it."""

_MOST_NAMES = 8


class Float16Graphs:
    """Writes them.

    Parameters
    ----------
    files
        The float32 graphs by role.
    reference
        What the checkpoint makes of example inputs of each graph.
    bundle
        The folder; only roles that have a float16 graph there are changed.
    optimize
        As in `write_precision`.
    progress
        Called with a line for each graph in which something stays float32.
    """

    def __init__(
        self,
        files: Mapping[str, Path],
        reference: Reference,
        bundle: Path,
        *,
        optimize: bool,
        progress: Callable[[str], None],
    ) -> None:
        self._files, self._reference, self._bundle = files, reference, bundle
        self._optimize, self._progress = optimize, progress
        self._float32_nodes: dict[str, list[str]] = {}
        self._searched: dict[str, Float32Nodes] = {}  # they know what a run showed for an earlier limit

    def keep_float32(self, limit: float, graphs: Mapping[str, Session]) -> bool:
        """Write each graph again that is further from the checkpoint than the limit; return whether there was one.

        Parameters
        ----------
        graphs
            The float16 graphs as they are, by role, which round as a GPU does.
        """
        from .float32_nodes import largest_error

        wrote = False
        for role, file in self._files.items():
            target = self._bundle / variant_name(role, "fp16")
            cases = self._reference.cases.get(role)
            if target.is_file() and cases:
                before = largest_error(target, graphs[role], cases)
                if before > limit:
                    self._write(role, file, target, limit, before)
                    wrote = True
        return wrote

    def _write(self, role: str, file: Path, target: Path, limit: float, before: float) -> None:
        from .float16 import load_named
        from .float32_nodes import Float32Nodes
        from .precision import write_precision

        if role not in self._searched:
            self._searched[role] = Float32Nodes(load_named(file), self._reference.cases[role])
        nodes = self._searched[role]
        self._progress(f"  fp16 {role}: relative error {before:.3g}; looking for the nodes that need float32")
        start = monotonic()
        found, error = nodes.search(limit)
        write_precision(file, target, "fp16", optimize=self._optimize, float32_nodes=found)
        self._float32_nodes[role] = found
        shown = ", ".join(found[:_MOST_NAMES]) + (f" and {len(found) - _MOST_NAMES} more" * (len(found) > _MOST_NAMES))
        self._progress(
            f"  fp16 {role}: relative error {error:.3g} with float32 in {len(found)} of {len(nodes.names)} nodes; "
            f"the search took {monotonic() - start:.0f} s"
        )
        self._progress(f"    float32 nodes: {shown}")

    def describe(self, manifest: dict[str, Any]) -> None:
        """Add the nodes that stay float32 to a manifest, and the hashes of the files that were written."""
        if self._float32_nodes:
            manifest["float32_nodes"] = {"fp16": self._float32_nodes}
        for role in self._float32_nodes:
            for path in graph_files(self._bundle / variant_name(role, "fp16")):
                manifest["files"][path.name] = sha256(path)
