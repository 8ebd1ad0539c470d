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
        optimum's name of the model's task; None for a model that is exported without optimum.
    packages
        Packages whose versions the manifest lists.
    kinds
        ``kinds`` of the manifest: which finder or drawer of the runtime reads the graphs, as ``{"finder": "owl"}``.
    float32_roles
        Graphs that stay float32 where the bundle's precision is int8.
    float32_nodes
        By role, names of matrix products, or what their names begin with, that stay float32 in an int8 graph.
    image_size
        Side in pixels of the square that images are resized to.
    submodels
        The graphs, by role.
    notes
        Sentences about the bundle for the user, once the settings are written.
    image
        ``image`` of the manifest: preprocessing by role.
    """

    family: ClassVar[str]
    task: ClassVar[str | None]
    kinds: ClassVar[Mapping[str, str]] = {}

    description: str
    calibration: Sequence[Sequence[float]] = IDENTITY
    packages: Sequence[str]
    float32_roles: frozenset[str] = frozenset()
    float32_nodes: Mapping[str, Sequence[str]] = {}
    notes: Sequence[str] = ()
    image_size: int
    submodels: Mapping[str, Submodel]
    image: Mapping[str, Any]

    def copy_graphs(self, bundle: Path) -> dict[str, Any]:
        """Copy finished graphs into the bundle; return ``graphs`` of the manifest, by role. By default none."""
        del bundle
        return {}

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
