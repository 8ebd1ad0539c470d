"""Proofs: whether a model computes on this device, in this precision, what float32 on the CPU made of it at export."""

from __future__ import annotations

from .document import FILE, Proof, read_proof
from .judging import Check, judge
from .making import make_proof
from .recording import Recording, record
from .speed import Timing, compare
from .verdicts import Verdict, Verdicts

__all__ = [
    "FILE",
    "Check",
    "Proof",
    "Recording",
    "Timing",
    "Verdict",
    "Verdicts",
    "compare",
    "judge",
    "make_proof",
    "read_proof",
    "record",
]
