"""What a bundle, or its finder or drawer, is made of, before anything heavy is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from automask.bundle import Terms
from automask.errors import AutomaskError

from .architecture import CheckpointFormat, Part
from .checkpoint import Checkpoint, CheckpointError

if TYPE_CHECKING:
    from .model import Model

__all__ = ["Source", "checkpoint_source"]

_LIBRARIES = 1 << 30


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint on this disk, or the drawer of the built-in bundle.

    Attributes
    ----------
    name
        Name of the bundle, unless the user gives another one.
    part
        What it is in a bundle.
    licence
        Licence of the weights.
    terms
        Licences with conditions among them.
    weights
        Size of the weights, in bytes.
    memory
        Memory that the export takes at its peak, in bytes: an estimate.
    describe
        Returns ``sources`` of the manifest; hashes the weights.
    load
        Loads the model; imports torch.
    """

    name: str
    part: Part
    licence: str
    terms: Sequence[Terms]
    weights: int
    memory: int
    describe: Callable[[], Sequence[Mapping[str, str]]]
    load: Callable[[], Model]


def checkpoint_source(checkpoint: Checkpoint, kind: CheckpointFormat, image_size: int | None) -> Source:
    """Return the source of a checkpoint.

    Parameters
    ----------
    kind
        The format of its architecture.
    image_size
        Side of the square image in pixels; None for the checkpoint's own.

    Raises
    ------
    CheckpointError
        The configuration has values of another type than its architecture's.
    """
    weights = sum(file.stat().st_size for file in checkpoint.weights)
    with _naming(checkpoint):
        activations = kind.memory_needed(checkpoint.config, image_size) if kind.memory_needed else 0
    return Source(
        name=checkpoint.name.rpartition("/")[2],
        part=kind.part,
        licence=kind.licence(checkpoint),
        terms=(kind.terms(checkpoint),) if kind.terms else (),
        weights=weights,
        memory=_LIBRARIES + int(kind.copies * weights) + activations,
        describe=checkpoint.sources,
        load=lambda: _load(checkpoint, kind, image_size),
    )


def _load(checkpoint: Checkpoint, kind: CheckpointFormat, image_size: int | None) -> Model:
    with _naming(checkpoint):
        return kind.load(checkpoint, image_size)


@contextmanager
def _naming(checkpoint: Checkpoint) -> Iterator[None]:
    """Name the checkpoint in any error: a wrong type in its configuration can raise anything inside transformers."""
    try:
        yield
    except (AutomaskError, MemoryError):
        raise
    except Exception as error:
        raise CheckpointError(
            f"{checkpoint.name} cannot be loaded, its files do not fit together: {type(error).__name__}: {error}"
        ) from error
