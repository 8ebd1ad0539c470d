"""Making a proof, with float32 on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from ..bundle import Bundle, sha256
from ..devices import CPU
from ..errors import BundleError, ParameterError
from ..families import FAMILIES
from ..outline import Outline
from ..selection import Selection
from ..session import Session
from .digest import Digest
from .document import PHOTO, Box, Graphs, Proof, Question
from .judging import measure
from .recording import Recording, record

__all__ = ["make_proof"]

_OBJECT: Final[Box] = (178.0, 2.0, 236.0, 143.0)  # around the space shuttle in the photo


def _open(path: Path, _precision: str) -> Session:
    return Session(path, CPU)


def make_proof(bundle: Bundle, opener: Callable[[Path, str], Session] = _open) -> Proof:
    """Run a bundle on the CPU, in float32 and in each other precision, and return its proof.

    Parameters
    ----------
    bundle
        The bundle.
    opener
        Opens a graph of a precision on the CPU. The exporter's rounds a float16 graph as a GPU does.

    Raises
    ------
    BundleError
        A graph is damaged or cannot be opened, or the model fails on the photo.
    """
    words = FAMILIES[bundle.family].read_words(bundle)
    questions = [Question(prompt=Outline(bundle, CPU, words).sample_prompt)]
    if _takes_boxes(bundle):
        # Last, because the last run of a graph is compared: a box that was found may differ between devices.
        questions.append(Question(box=_OBJECT))
    exact = _record(bundle, "fp32", questions, opener)
    proof = Proof(sha256(PHOTO), tuple(questions), _digest(exact), tuple(exact.outcomes))
    others = [name for name in bundle.precisions if name != "fp32"]
    differences = {name: _rounded(measure(proof, _record(bundle, name, questions, opener))) for name in others}
    return replace(proof, differences=differences)


def _digest(recording: Recording) -> Graphs:
    return {
        role: {name: Digest.of(output) for name, output in run.outputs.items()} for role, run in recording.runs.items()
    }


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.3g}") for name, value in figures.items()}


def _takes_boxes(bundle: Bundle) -> bool:
    try:
        FAMILIES[bundle.family].check_selection(bundle, Selection(box=_OBJECT))
    except ParameterError:
        return False
    return True


def _record(
    bundle: Bundle, precision: str, questions: list[Question], opener: Callable[[Path, str], Session]
) -> Recording:
    sessions = {
        role: opener(
            bundle.folder / graph.choose([precision, "fp32"]), precision if precision in graph.variants else ""
        )
        for role, graph in bundle.graphs.items()
    }
    recording = record(bundle, sessions, questions)
    if recording.failure:
        raise BundleError(f"{bundle.folder} fails on the photo of the proof in {precision}: {recording.failure}")
    return recording
