"""Recordings: what the graphs of a model compute while it answers the questions of a proof."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle
from ..cpu_graphs import assemble
from ..devices.arrays import to_host
from ..encodings import rle
from ..errors import AutomaskError
from ..result import Result
from ..session import Input, Session
from .document import PHOTO, Found, Outcome, Question

__all__ = ["Recording", "Run", "record"]


@dataclass(frozen=True, slots=True)
class Run:
    """The last run of a graph.

    Attributes
    ----------
    inputs, outputs
        Its arrays by name.
    milliseconds
        How long it took.
    count
        How often the graph ran in all.
    """

    inputs: Mapping[str, NDArray[Any]]
    outputs: Mapping[str, NDArray[Any]]
    milliseconds: float
    count: int


@dataclass(slots=True)
class Recording:
    """What a model made of the questions.

    Attributes
    ----------
    runs
        The last run of each graph by role, in the order of their first runs.
    outcomes
        The answer to each question; fewer if one failed.
    failure
        Why one failed; empty if none did.
    milliseconds
        How long all questions took.
    """

    runs: dict[str, Run] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    failure: str = ""
    milliseconds: float = 0.0


class _Recorder(Session):
    """A session that notes the last run of its graph."""

    def __init__(self, session: Session, role: str, runs: dict[str, Run]) -> None:
        self._recorded, self._role, self._runs = session, role, runs
        self.device, self.memory, self.outputs = session.device, session.memory, session.outputs

    def run(self, **inputs: Input) -> tuple[NDArray[np.float32], ...]:
        return self._note(self._recorded.run, inputs)

    def run_on_device(self, **inputs: Input) -> tuple[Any, ...]:
        return self._note(self._recorded.run_on_device, inputs)

    def _note(self, run: Callable[..., tuple[Any, ...]], inputs: Mapping[str, Input]) -> tuple[Any, ...]:
        started = perf_counter()
        outputs = run(**inputs)
        milliseconds = 1e3 * (perf_counter() - started)
        named = dict(zip(self.outputs, outputs, strict=True))
        before = self._runs[self._role].count if self._role in self._runs else 0
        self._runs[self._role] = Run(_on_host(inputs), _on_host(named), milliseconds, before + 1)
        return outputs


def _on_host(arrays: Mapping[str, Input]) -> dict[str, NDArray[Any]]:
    return {name: to_host(array) for name, array in arrays.items()}


def record(bundle: Bundle, sessions: Mapping[str, Session], questions: Sequence[Question]) -> Recording:
    """Answer the questions with a model, and record its graphs.

    Parameters
    ----------
    bundle
        The bundle.
    sessions
        Its graphs by role.
    questions
        As in a `Proof`.

    Raises
    ------
    AutomaskError
        As `Segmenter.mask` does, for example because the device is gone. Any other error of a family, which outputs
        that make no sense can cause, is the `failure` of the recording.
    """
    recording = Recording()
    recorders: dict[str, Session] = {role: _Recorder(one, role, recording.runs) for role, one in sessions.items()}
    segmenter = assemble(bundle, recorders)
    photo = PHOTO.read_bytes()
    started = perf_counter()
    try:
        with np.errstate(all="ignore"):
            for question in questions:
                result = segmenter.mask(photo, question.prompt, box=question.box, grow_mask=0, edges="model")
                recording.outcomes.append(_outcome(result))
    except AutomaskError:
        raise
    except Exception as error:  # noqa: BLE001 (whatever NaN and nonsense make of the code after a graph)
        recording.failure = f"{type(error).__name__}: {error}"
    recording.milliseconds = 1e3 * (perf_counter() - started)
    return recording


def _outcome(result: Result) -> Outcome:
    instances = tuple(Found(one.label, round(one.score, 6), one.box) for one in result.instances)
    return Outcome(instances, rle(result.mask))
