"""Which of two precisions is faster on this machine, measured on the slowest graph by turns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter

from ..session import Session
from .recording import Recording

__all__ = ["Timing", "compare", "slowest"]

_SECONDS = 0.6  # after the first round
_MOST_ROUNDS = 5
_MARGIN = 1.15  # below it, a difference may be noise, and the order of the device decides


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds of one graph in two precisions, the fastest of a few runs by turns."""

    preferred: float
    other: float

    def __str__(self) -> str:
        """Return the times in words."""
        return f"{self.other:.0f} ms for {self.preferred:.0f} ms"

    @property
    def other_is_faster(self) -> bool:
        """Whether the other one is faster by more than 15 %."""
        return self.preferred > _MARGIN * self.other


def slowest(recording: Recording, files: Mapping[str, str], others: Mapping[str, str]) -> str | None:
    """Return the role of the graph that took longest, of those of which the files differ; None if there is none."""
    runs = {role: run.milliseconds for role, run in recording.runs.items() if files[role] != others[role]}
    return max(runs, key=runs.__getitem__, default=None)


def compare(recording: Recording, role: str, preferred: Session, other: Session) -> Timing:
    """Time the graph of a role in two precisions, on the inputs of a recording."""
    inputs = recording.runs[role].inputs
    for session in (preferred, other):
        session.run(**inputs)  # the first run allocates
    times: tuple[list[float], list[float]] = ([], [])
    started = perf_counter()
    for _ in range(_MOST_ROUNDS):
        for session, measured in zip((preferred, other), times, strict=True):
            begun = perf_counter()
            session.run(**inputs)
            measured.append(1e3 * (perf_counter() - begun))
        if perf_counter() - started > _SECONDS:
            break
    return Timing(min(times[0]), min(times[1]))
