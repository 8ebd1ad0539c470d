"""The interface of a loaded checkpoint: what an architecture implements so that the pipeline can export it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from .manifest import IDENTITY

if TYPE_CHECKING:
    from .parity import Image, Reference
    from .submodels import Submodel

__all__ = ["Model"]


class Model(ABC):
    """A checkpoint in memory.

    Attributes
    ----------
    family, description, calibration
        Entries of the manifest, as in `automask.bundle.Bundle`.
    task
        optimum's name of the model's task.
    packages
        Packages whose versions the manifest lists.
    float32_roles
        Graphs that stay float32 where the bundle's precision is int8.
    image_size
        Side in pixels of the square that images are resized to.
    submodels
        The graphs, by role.
    image
        ``image`` of the manifest: preprocessing by role.
    """

    family: ClassVar[str]
    description: ClassVar[str]
    calibration: ClassVar[Sequence[Sequence[float]]] = IDENTITY
    task: ClassVar[str]
    packages: ClassVar[Sequence[str]]
    float32_roles: ClassVar[frozenset[str]] = frozenset()

    image_size: int
    submodels: Mapping[str, Submodel]
    image: Mapping[str, Any]

    @abstractmethod
    def write_settings(self, bundle: Path) -> dict[str, Any]:
        """Write the configuration, tokenizer and image processor into the bundle; return ``text`` of the manifest."""

    @abstractmethod
    def reference(self, photo: Image) -> Reference:
        """Run the checkpoint itself on example inputs.

        Parameters
        ----------
        photo
            RGB, shape (height, width, 3).
        """

    @abstractmethod
    def model_card(self, manifest: Mapping[str, Any]) -> str:
        """Return the text of MODEL_CARD.md."""
