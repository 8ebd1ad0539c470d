"""`proof.json`: a photo, a prompt or a box, and the result of float32 on the CPU at export."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from ..bundle import Bundle
from ..encodings import Rle, unpack
from ..errors import BundleError
from .digest import Digest

__all__ = ["FILE", "PHOTO", "Found", "Graphs", "Outcome", "Proof", "Question", "read_proof"]

FILE = "proof.json"
PHOTO = Path(__file__).parents[1] / "data" / "person.jpg"
_VERSION = 1

Box: TypeAlias = tuple[float, float, float, float]
Graphs: TypeAlias = Mapping[str, Mapping[str, Digest]]
"""Digest of each output of each graph, by role and name."""


@dataclass(frozen=True, slots=True)
class Question:
    """The question about the photo: a prompt, or a box around one object."""

    prompt: str | None = None
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """An instance: its label, its score, and its box in pixels of the photo."""

    label: str
    score: float
    box: Box


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to a question: instances, and the mask as run lengths."""

    instances: tuple[Found, ...]
    mask: Rle


@dataclass(frozen=True, slots=True)
class Proof:
    """The content of `proof.json`.

    Attributes
    ----------
    photo
        SHA-256 of the photo, which comes with the package.
    questions
        The question.
    graphs
        Digest of each output of each graph, by role and name, in the order in which the graphs run. Of several runs of
        a graph, the last one counts: that of the box, which is the same on every device.
    outcomes
        The answer to each question.
    differences
        How far each other precision is from float32 at export, on the CPU: by precision and name of the check.
    """

    photo: str
    questions: tuple[Question, ...]
    graphs: Graphs
    outcomes: tuple[Outcome, ...]
    differences: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file."""
        return {
            "schema_version": _VERSION,
            "photo": self.photo,
            "questions": [asdict(question) for question in self.questions],
            "graphs": _graphs_to_json(self.graphs),
            "outcomes": [asdict(outcome) for outcome in self.outcomes],
            "differences": {precision: dict(figures) for precision, figures in self.differences.items()},
        }


def _graphs_to_json(graphs: Graphs) -> dict[str, Any]:
    return {role: {name: digest.to_json() for name, digest in outputs.items()} for role, outputs in graphs.items()}


def _graphs_from_json(content: Mapping[str, Any]) -> Graphs:
    return {
        str(role): {str(name): Digest.from_json(digest) for name, digest in outputs.items()}
        for role, outputs in content.items()
    }


def read_proof(bundle: Bundle) -> Proof | None:
    """Read the proof of a bundle; None if it has none.

    Raises
    ------
    BundleError
        The file cannot be read, or is malformed.
    """
    if bundle.proof is None:
        return None
    path = bundle.folder / bundle.proof
    try:
        return _from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, LookupError, AttributeError, TypeError, ValueError) as error:
        raise BundleError(
            f"{path} cannot be used ({type(error).__name__}: {error}); export or download the bundle again, or load it "
            "with prove=False"
        ) from error


def _from_json(content: Mapping[str, Any]) -> Proof:
    if content["schema_version"] != _VERSION:
        raise ValueError(f"it has schema version {content['schema_version']!r}, this automask reads {_VERSION}")
    if len(content["questions"]) != len(content["outcomes"]):
        raise ValueError(f"{len(content['questions'])} questions have {len(content['outcomes'])} outcomes")
    return Proof(
        photo=str(content["photo"]),
        questions=tuple(Question(one["prompt"], _box(one["box"])) for one in content["questions"]),
        graphs=_graphs_from_json(content["graphs"]),
        outcomes=tuple(
            Outcome(
                tuple(Found(str(i["label"]), float(i["score"]), _needed_box(i["box"])) for i in one["instances"]),
                _rle(one["mask"]),
            )
            for one in content["outcomes"]
        ),
        differences={
            str(precision): {str(name): float(value) for name, value in figures.items()}
            for precision, figures in content["differences"].items()
        },
    )


def _rle(content: Mapping[str, Any]) -> Rle:
    height, width = map(int, content["size"])
    encoded: Rle = {"size": [height, width], "counts": str(content["counts"])}
    unpack(encoded)  # raises where it is damaged
    return encoded


def _box(content: object) -> Box | None:
    return None if content is None else _needed_box(content)


def _needed_box(content: Any) -> Box:  # noqa: ANN401 (from JSON)
    left, top, right, bottom = map(float, content)
    return left, top, right, bottom
