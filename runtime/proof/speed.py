"""Which of two precisions or devices is faster on this machine, measured by turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeAlias

from ..session import Session
from .recording import Recording

__all__ = ["Runs", "Timing", "compare", "slowest"]

_SECONDS = 0.6  # after which no more rounds than the least are timed
_MOST_SECONDS = 3.0  # after which timing stops, and the order of the device decides
_LEAST_ROUNDS, _MOST_ROUNDS = 3, 5
# Below either, a difference may be noise, and the order of the device decides.
_MARGIN = 1.15
_LEAST_GAIN = 5.0  # milliseconds
_CLEAR = 2.0  # times faster, which is no noise in one round either

Runs: TypeAlias = Sequence[tuple[Session, Mapping[str, Any]]]
"""Graphs, each with its inputs by name."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds of the same graphs in two precisions or on two devices, the fastest of a few rounds by turns.

    Attributes
    ----------
    preferred, other
        Milliseconds.
    is_steady
        Whether the other one was faster in every round: of at least three, or by a factor of two.
    """

    preferred: float
    other: float
    is_steady: bool = True

    def __str__(self) -> str:
        """Return the times in words."""
        return f"{self.other:.0f} ms for {self.preferred:.0f} ms"

    @property
    def other_is_faster(self) -> bool:
        """Whether the other one is faster by more than 15 % and 5 ms, in every round."""
        gain = self.preferred - self.other
        return self.is_steady and self.preferred > _MARGIN * self.other and gain > _LEAST_GAIN


def slowest(recording: Recording, files: Mapping[str, str], others: Mapping[str, str]) -> str | None:
    """Return the role of the graph that took longest, of those of which the files differ; None if there is none."""
    runs = {role: run.milliseconds for role, run in recording.runs.items() if files[role] != others[role]}
    return max(runs, key=runs.__getitem__, default=None)


def compare(preferred: Runs, other: Runs) -> Timing:
    """Time the same graphs in two ways, by turns, each on its own inputs; the times of a round are added up."""
    for session, inputs in (*preferred, *other):
        session.run(**inputs)  # the first run allocates
    times: tuple[list[float], list[float]] = ([], [])
    started = perf_counter()
    for number in range(1, _MOST_ROUNDS + 1):
        for runs, measured in zip((preferred, other), times, strict=True):
            begun = perf_counter()
            for session, inputs in runs:
                session.run(**inputs)
            measured.append(1e3 * (perf_counter() - begun))
        seconds = perf_counter() - started
        if seconds > _MOST_SECONDS or (seconds > _SECONDS and number >= _LEAST_ROUNDS):
            break
    least = 1.0 if number >= _LEAST_ROUNDS else _CLEAR
    is_steady = all(ours > least * theirs for ours, theirs in zip(*times, strict=True))
    return Timing(min(times[0]), min(times[1]), is_steady)
