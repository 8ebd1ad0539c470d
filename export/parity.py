"""Parity: exported graphs beside their sources, on the same inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from automask.bundle import Bundle
from automask.cpu_graphs import CpuGraphs
from automask.session import Session

from .figures import Figure, ParityError

__all__ = [
    "Agreement",
    "Array",
    "Case",
    "Image",
    "Reference",
    "cosine",
    "graph_figures",
    "largest_difference",
    "parity_image",
    "relative_error",
    "run_graph",
]

Array = NDArray[Any]
Image = NDArray[np.uint8]
# Inputs of a graph, and the outputs of its torch module for them.
Case = tuple[Mapping[str, Array], Mapping[str, Array]]

# Float32 runs the same operations in another order; a larger error means another function.
_FP32_RELATIVE = 1e-3


class Agreement(Protocol):
    """How far the graphs of one precision are, together, from the checkpoint in float32."""

    def figures(self, precision: str) -> list[Figure]:
        """Return the figures; those that decide have limits."""

    def criterion(self, precision: str) -> str:
        """Describe the figure that decides, and why."""


class Reference(Protocol):
    """Example inputs, and the checkpoint's own results for them."""

    @property
    def cases(self) -> Mapping[str, Sequence[Case]]:
        """Inputs and expected outputs of each graph, by role."""

    def compare(self, bundle: Bundle, graphs: CpuGraphs) -> Agreement:
        """Compare what the graphs compute together with the checkpoint's own results.

        Parameters
        ----------
        bundle
            The staged bundle, with every setting but the parity; the runtime's finders and drawers take it.
        graphs
            The graphs of one precision, by role.
        """


def parity_image(photo: Path | None) -> Image:
    """Read a photo, or draw smooth coloured blobs: RGB, shape (height, width, 3).

    Raises
    ------
    ParityError
        OpenCV cannot read the photo.
    """
    if photo is None:
        coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3)).astype(np.uint8)
        return np.asarray(cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC), np.uint8)
    pixels = cv2.imread(str(photo), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ParityError(f"{photo} must be an image that OpenCV can read")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def graph_figures(cases: Mapping[str, Sequence[Case]], graphs: Mapping[str, Session], precision: str) -> list[Figure]:
    """Compare each graph of a precision with its torch module.

    Parameters
    ----------
    cases
        By role.
    graphs
        The graphs, by role.
    precision
        Only fp32 has a limit; `agreement` decides about the others.
    """
    limit = _FP32_RELATIVE if precision == "fp32" else None
    figures = []
    for role, pairs in cases.items():
        results = [(run_graph(graphs[role], inputs), expected) for inputs, expected in pairs]
        errors = [relative_error(found[name], outputs[name]) for found, outputs in results for name in outputs]
        figures.append(Figure(f"{precision} {role}: relative error", float(np.max(errors)), limit))
    return figures


def run_graph(session: Session, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Run a graph; return its outputs by name."""
    return dict(zip(session.outputs, session.run(**inputs), strict=True))


def relative_error(found: Array, expected: Array) -> float:
    """Norm of the difference over the norm of the expected array."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def largest_difference(found: Array, expected: Array) -> float:
    """Largest absolute difference of two elements."""
    return float(np.abs(found - expected).max())


def cosine(found: Array, expected: Array) -> float:
    """Cosine similarity of two arrays, as vectors."""
    a, b = found.ravel().astype(np.float64), expected.ravel().astype(np.float64)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))
