"""Making a proof on the CPU, with float32 where the bundle has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from ..bundle import Bundle, sha256
from ..cpu_graphs import CpuGraphs, OpenedGraphs
from ..devices import CPU
from ..errors import BundleError, ParameterError
from ..families import FAMILIES
from ..outline import Outline
from ..selection import Selection
from .digest import Digest
from .document import PHOTO, Box, Graphs, Proof, Question
from .judging import measure
from .recording import Recording, record

__all__ = ["make_proof"]

_OBJECT: Final[Box] = (178.0, 2.0, 236.0, 143.0)  # around the space shuttle in the photo


def make_proof(bundle: Bundle, opened: OpenedGraphs | None = None) -> Proof:
    """Run a bundle on the CPU, in float32 and in each other precision, and return its proof.

    Where the bundle has no float32, as a pulled one with int8 alone, its first precision takes that place: the proof
    then says that other devices compute what this processor does.

    Parameters
    ----------
    bundle
        The bundle.
    opened
        Graphs that are open already; those that are opened here are added.

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
    opened = OpenedGraphs() if opened is None else opened
    reference, *others = sorted(bundle.precisions, key=lambda name: name != "fp32")
    exact = _record(bundle, reference, questions, opened)
    proof = Proof(sha256(PHOTO), tuple(questions), _digest(exact), tuple(exact.outcomes))
    differences = {name: _rounded(measure(proof, _record(bundle, name, questions, opened))) for name in others}
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


def _record(bundle: Bundle, precision: str, questions: list[Question], opened: OpenedGraphs) -> Recording:
    recording = record(bundle, CpuGraphs(bundle, precision, opened), questions)
    if recording.failure:
        raise BundleError(f"{bundle.folder} fails on the photo of the proof in {precision}: {recording.failure}")
    return recording
