"""What the export writes into `automask.json`, and beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automask.manifest import variant_name

if TYPE_CHECKING:
    from .graphs import Tensor

__all__ = [
    "IDENTITY",
    "PRECISIONS",
    "describe_graph",
    "versions",
    "write_card",
]

PRECISIONS = ("fp32", "fp16", "int8")
# Calibration that keeps the raw scores.
IDENTITY = ((0, 0), (1, 1))


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the installed version of each package, for ``exported_with``."""
    return {name: metadata.version(name) for name in packages}


def describe_graph(
    role: str, precisions: Iterable[str], inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Describe one graph: files by precision, in order of preference, and the shapes and types of its tensors."""
    return {
        "variants": {precision: variant_name(role, precision) for precision in precisions},
        "inputs": {name: tensor.described() for name, tensor in inputs.items()},
        "outputs": {name: tensor.described() for name, tensor in outputs.items()},
    }


def write_card(folder: Path, card: str) -> None:
    """Write the model card."""
    (folder / "MODEL_CARD.md").write_text(card, encoding="utf-8")
