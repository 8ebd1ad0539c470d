"""Opening the graphs of one plan, and what was built for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Final, TypeAlias

from .bundle import Bundle, Graph
from .devices import CPU, DEVICES
from .devices.tuning import DEFAULT, Tuning
from .engines import count_engines, engines_folder
from .errors import DeviceError
from .plans import Plan
from .session import Session

__all__ = ["Progress", "open_graph", "open_graphs", "silent"]

Progress: TypeAlias = Callable[[str], object]
"""Called with one line."""

_NONE: Final[Mapping[str, Session]] = {}


def silent(_line: str) -> None:
    """Show no progress."""


def open_graphs(
    bundle: Bundle,
    plan: Plan,
    tuning: Tuning = DEFAULT,
    *,
    shared: Mapping[str, Session] = _NONE,
    progress: Progress = silent,
) -> dict[str, Session]:
    """Check the files of a plan, and open its graphs.

    Parameters
    ----------
    bundle, plan
        What to open.
    tuning
        How the graphs use the device.
    shared
        Graphs that are open on the same device, by file; they are not opened again.
    progress
        Called with a line for each graph.

    Returns
    -------
    The graphs by role.

    Raises
    ------
    BundleError, DeviceError
        As `Bundle.check` and `Session` do; or the device leaves too much of the model to the CPU.
    """
    # Hashing takes longer than opening, and most files of a bundle may be of other precisions.
    bundle.check(opened=plan.files.values())
    sessions = {
        role: shared[file] if file in shared else open_graph(bundle, plan, role, tuning, progress)
        for role, file in plan.files.items()
    }
    _require_share(bundle, plan, [*sessions.values()])
    return sessions


def _require_share(bundle: Bundle, plan: Plan, sessions: Sequence[Session]) -> None:
    """Raise a `DeviceError` if the device leaves too much of a model to the CPU."""
    info = DEVICES[plan.device]
    taken = sum(session.nodes.get(info.provider, 0) for session in sessions)
    nodes = sum(sum(session.nodes.values()) for session in sessions)
    if nodes and (not taken or taken < info.least_share * nodes):
        raise DeviceError(
            f"device {plan.device!r} cannot be used for {bundle.name!r} in {plan.precision}: it takes {taken} of "
            f"{nodes} nodes, and the rest would run elsewhere. Use another precision, or device={CPU!r}"
        )


def open_graph(bundle: Bundle, plan: Plan, role: str, tuning: Tuning, progress: Progress) -> Session:
    """Open the graph of one role; the files of the plan were checked."""
    file = plan.files[role]
    key, builds = bundle.files[file], DEVICES[plan.device].builds_engines
    kept = count_engines(engines_folder(plan.device, key)) if builds else 0
    started = perf_counter()
    fixed = replace(tuning, cuda_graphs=tuning.cuda_graphs and _is_fixed(bundle.graphs[role]))
    session = Session(bundle.folder / file, plan.device, tuning=fixed, sha256=key)
    seconds = perf_counter() - started
    built = count_engines(session.engines) - kept
    how = f"built {built} engines" if built else "read from the cache of engines" if kept else "opened"
    progress(f"{file}: {how} in {seconds:.1f} s")
    return session


def _is_fixed(graph: Graph) -> bool:
    """Return whether all inputs have the same shape in every call: an axis called ``batch`` is one image."""
    axes = (axis for spec in graph.inputs.values() for axis in spec.shape)
    return all(isinstance(axis, int) or axis == "batch" for axis in axes)
