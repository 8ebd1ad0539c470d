"""Proofs: whether a model computes on this device, in this precision, what the CPU made of it when it was made."""

from __future__ import annotations

from .adding import add_proof
from .document import FILE, Proof, read_proof
from .judging import Check, judge
from .making import make_proof
from .recording import Recording, record
from .speed import Runs, Timing, compare
from .verdicts import Race, Verdict, Verdicts

__all__ = [
    "FILE",
    "Check",
    "Proof",
    "Race",
    "Recording",
    "Runs",
    "Timing",
    "Verdict",
    "Verdicts",
    "add_proof",
    "compare",
    "judge",
    "make_proof",
    "read_proof",
    "record",
]
