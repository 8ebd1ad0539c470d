"""The graphs of a bundle on the CPU, kept open: an export and a pull run the same ones again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from .bundle import Bundle, graph_files
from .cache import Arrays, ByteCache
from .devices import CPU, DEVICES
from .devices.arrays import device_bytes, host_bytes
from .devices.tuning import Tuning
from .families import FAMILIES
from .images import DEFAULT_MAX_PIXELS
from .running import Running
from .segmenter import Segmenter
from .session import Session

__all__ = ["FRUGAL", "CpuGraphs", "OpenedGraphs", "assemble", "best_precision"]

FRUGAL = Tuning(arena=False)
"""A graph runs a few times only, and those of large models would each keep gigabytes."""

_CACHE_BYTES = 256 << 20
_MOST_OPEN = 4_000_000_000  # bytes of weights


def _open(path: Path, _precision: str) -> Session:
    return Session(path, CPU, tuning=FRUGAL)


class OpenedGraphs:
    """Graphs that are open, which several `CpuGraphs` share; of large ones, those that were used last.

    Parameters
    ----------
    opener
        Opens a graph of a precision on the CPU. The exporter's rounds a float16 graph as a GPU does.
    """

    def __init__(self, opener: Callable[[Path, str], Session] = _open) -> None:
        self._opener = opener
        self._sessions: dict[Path, Session] = {}
        self._precisions: dict[Path, str] = {}

    def get(self, path: Path, precision: str) -> Session:
        """Return the graph in a file; open it unless it is open."""
        session = self._sessions.pop(path, None)
        if session is None:
            self._make_room(_weight_bytes(path, precision))
            self._precisions[path] = precision
            session = self._opener(path, precision)
        self._sessions[path] = session  # the last one
        return session

    def _make_room(self, needed: int) -> None:
        """Close the graphs that were not used for longest, until another one fits."""
        used = {path: _weight_bytes(path, self._precisions[path]) for path in self._sessions}
        for path in used:
            if sum(used[one] for one in self._sessions) + needed <= _MOST_OPEN:
                break
            del self._sessions[path]

    def close(self, path: Path) -> None:
        """Close a graph, because its file was written again."""
        self._sessions.pop(path, None)


def _weight_bytes(path: Path, precision: str) -> int:
    """Return the bytes of the weights of an open graph; the exporter opens a float16 graph in float32."""
    return (2 if precision == "fp16" else 1) * sum(file.stat().st_size for file in graph_files(path))


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
