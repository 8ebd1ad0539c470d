"""Judging a recording by a proof, with limits that depend on the precision."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..devices import DEVICES
from ..encodings import Rle, unpack
from ..parameters import Parameters
from .digest import Digest
from .document import Box, Found, Outcome, Proof
from .recording import Recording

__all__ = ["Check", "judge", "measure"]


class _Limits(NamedTuple):
    graph: float  # relative error of an output
    mask: float  # 1 - IoU
    scores: float  # difference


_LIMITS = {
    "fp32": _Limits(0.01, 0.02, 0.01),
    "fp16": _Limits(0.02, 0.05, 0.03),
    "int8": _Limits(0.02, 0.1, 0.05),
}
# A precision that is further from float32 at export also differs more between processors. Those with VNNI and those
# without round the int8 encoder of the embedded model differently: both are as far from float32 as from each other.
_SLACK = _Limits(1.5, 2.0, 2.0)
_SAME_BOX = 0.5  # least IoU
# A mask that differs so much between precisions has a large part in which the model cannot decide.
_UNSTABLE = 0.1


@dataclass(frozen=True, slots=True)
class Check:
    """One figure of a verdict.

    Attributes
    ----------
    name
        What was compared: ``graph detector``, ``mask of 'person'``, ``scores of 'person'``.
    value
        Relative error of the outputs of a graph, 1 - IoU of a mask, or largest difference of a score. Infinite where
        something is missing or not a number.
    limit
        Largest value that is right.
    """

    name: str
    value: float
    limit: float

    @property
    def holds(self) -> bool:
        """Whether the value is within the limit."""
        return self.value <= self.limit

    def __str__(self) -> str:
        """Return the figure in words."""
        value = "nothing that can be compared" if math.isinf(self.value) else f"{self.value:.3g}"
        return f"{self.name}: {value} (limit {self.limit:.3g})"


def judge(
    proof: Proof, recording: Recording, *, device: str, precision: str, precisions: Mapping[str, str]
) -> list[Check]:
    """Compare a recording with a proof.

    Parameters
    ----------
    proof, recording
        What should be, and what is.
    device
        A name of the table of devices.
    precision
        Precision of the model as a whole.
    precisions
        That of each graph, by role.

    Returns
    -------
    One check for each graph, in the order in which they run, then for masks and scores.
    """
    measured = proof.differences.get(precision, {})
    exact = DEVICES[device].float32_error
    checks = []
    for name, value in measure(proof, recording).items():
        kind, _, role = name.partition(" ")
        apart = measured.get(name, 0.0)
        limit = getattr(_LIMITS.get(precision, _LIMITS["int8"]), kind)
        if kind == "graph" and precisions.get(role) == "fp32" and apart <= exact:
            limit = exact
        if kind == "mask":
            apart = max(apart, _instability(proof, name))
        checks.append(Check(name, value, max(limit, getattr(_SLACK, kind) * apart)))
    return checks


def _instability(proof: Proof, name: str) -> float:
    """Return how far the masks of a question are apart, if no device can be expected to draw the same one."""
    apart = max((figures.get(name, 0.0) for figures in proof.differences.values()), default=0.0)
    return apart if apart > _UNSTABLE else 0.0


def measure(proof: Proof, recording: Recording) -> dict[str, float]:
    """Return what a recording differs from a proof by, by name of the check."""
    figures = {
        f"graph {role}": _graph_error(digests, recording.runs[role].outputs if role in recording.runs else {})
        for role, digests in proof.graphs.items()
    }
    for at, (question, expected) in enumerate(zip(proof.questions, proof.outcomes, strict=True)):
        found = recording.outcomes[at] if at < len(recording.outcomes) else None
        subject = repr(question.prompt) if question.prompt is not None else "a box"
        figures[f"mask of {subject}"] = math.inf if found is None else _mask_error(expected.mask, found.mask)
        figures[f"scores of {subject}"] = math.inf if found is None else _score_error(expected, found)
    return figures


def _graph_error(expected: Mapping[str, Digest], found: Mapping[str, NDArray[np.float32]]) -> float:
    errors = [
        digest.error(Digest.of(found[name], digest.seed)) if name in found else math.inf
        for name, digest in expected.items()
    ]
    return max(errors, default=0.0)


def _mask_error(expected: Rle, found: Rle) -> float:
    if expected["size"] != found["size"]:
        return math.inf
    one, other = unpack(expected), unpack(found)
    union = int((one | other).sum())
    return 1 - int((one & other).sum()) / union if union else 0.0


def _score_error(expected: Outcome, found: Outcome) -> float:
    """Return the largest difference of a score; an instance that only one of them has differs by what it is above."""
    return max(_unmatched(expected.instances, found.instances), _unmatched(found.instances, expected.instances))


def _unmatched(instances: Sequence[Found], others: Sequence[Found]) -> float:
    least = Parameters().threshold
    worst = 0.0
    for one in instances:
        same = [o.score for o in others if o.label == one.label and _box_iou(one.box, o.box) >= _SAME_BOX]
        nearest = min((abs(one.score - score) for score in same), default=max(0.0, one.score - least))
        worst = max(worst, nearest)
    return worst


def _box_iou(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - shared
    return shared / union if union > 0 else 0.0
