"""The graphs of a bundle on the CPU, each opened once: an export and a pull run the same ones again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from .bundle import Bundle
from .cache import Arrays, ByteCache
from .devices import CPU, DEVICES
from .devices.arrays import device_bytes, host_bytes
from .families import FAMILIES
from .images import DEFAULT_MAX_PIXELS
from .running import Running
from .segmenter import Segmenter
from .session import Session

__all__ = ["CpuGraphs", "OpenedGraphs", "assemble", "best_precision"]

_CACHE_BYTES = 256 << 20


def _open(path: Path, _precision: str) -> Session:
    return Session(path, CPU)


class OpenedGraphs:
    """Graphs that are open, which several `CpuGraphs` share.

    Parameters
    ----------
    opener
        Opens a graph of a precision on the CPU. The exporter's rounds a float16 graph as a GPU does.
    """

    def __init__(self, opener: Callable[[Path, str], Session] = _open) -> None:
        self._opener = opener
        self._sessions: dict[Path, Session] = {}

    def get(self, path: Path, precision: str) -> Session:
        """Return the graph in a file; open it the first time."""
        if path not in self._sessions:
            self._sessions[path] = self._opener(path, precision)
        return self._sessions[path]

    def close(self, path: Path) -> None:
        """Close a graph, because its file was written again."""
        self._sessions.pop(path, None)


class CpuGraphs(Mapping[str, Session]):
    """The graphs of a bundle in one precision, by role. A graph that lacks it is in float32, or in what it has.

    Parameters
    ----------
    bundle
        The bundle.
    precision
        The precision.
    opened
        Graphs that are open already; those that are opened here are added.
    """

    def __init__(self, bundle: Bundle, precision: str, opened: OpenedGraphs | None = None) -> None:
        self._bundle, self._precision = bundle, precision
        self._opened = OpenedGraphs() if opened is None else opened

    def __getitem__(self, role: str) -> Session:
        graph = self._bundle.graphs[role]
        file = graph.choose([self._precision, "fp32"])
        return self._opened.get(
            self._bundle.folder / file, self._precision if self._precision in graph.variants else ""
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._bundle.graphs)

    def __len__(self) -> int:
        return len(self._bundle.graphs)

    def close(self) -> None:
        """Close the graphs of this precision, because their files were written again."""
        for graph in self._bundle.graphs.values():
            if self._precision in graph.variants:
                self._opened.close(self._bundle.folder / graph.variants[self._precision])

    def in_precision(self, precision: str) -> CpuGraphs:
        """Return the same bundle's graphs in another precision."""
        return CpuGraphs(self._bundle, precision, self._opened)


def best_precision(bundle: Bundle) -> str:
    """Return the precision of a bundle that comes first on the CPU."""
    return next((one for one in DEVICES[CPU].precisions if one in bundle.precisions), bundle.precisions[0])


def assemble(bundle: Bundle, graphs: Mapping[str, Session]) -> Segmenter:
    """Return a segmenter of open graphs, by role; raises as the bundle's family does."""
    cache = ByteCache[Arrays](_CACHE_BYTES, host_bytes, _CACHE_BYTES, device_bytes)
    family = FAMILIES[bundle.family](bundle, dict(graphs), cache)
    return Segmenter(bundle, Running(family, cache), DEFAULT_MAX_PIXELS)
