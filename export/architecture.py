"""The interface of an architecture: what it exports, and how, without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import click

from automask.bundle import Terms

from .checkpoint import Checkpoint
from .figures import Report

if TYPE_CHECKING:
    from .model import Model

__all__ = [
    "Architecture",
    "Build",
    "CheckpointFormat",
    "Entry",
    "MemoryNeeded",
    "Part",
    "checkpoint_architecture",
    "force_option",
    "output_option",
    "photo_option",
]

Build: TypeAlias = Callable[..., Report]
"""Called as build(output, force=..., progress=..., **options)."""

Part: TypeAlias = Literal["whole", "finder", "drawer"]
"""What a checkpoint is in a bundle: all of it, words and image to boxes, or boxes to masks."""

MemoryNeeded: TypeAlias = Callable[[Mapping[str, Any], int | None], int]
"""Called with `config.json` and the image size (None for the checkpoint's own): bytes of the largest intermediate
results while the model is traced and compared, besides the copies of its weights."""


@dataclass(frozen=True, slots=True)
class CheckpointFormat:
    """What the shared pipeline needs to know of an architecture.

    Attributes
    ----------
    model_types
        Accepted values of ``model_type`` in `config.json`.
    load
        Loads a checkpoint for an image size (None for its own); imports torch.
    licence
        Returns the licence of a checkpoint's weights, for the manifest.
    part
        What its bundles need: a finder needs a drawer.
    memory_needed
        Estimates the memory of the intermediate results; None if it is small beside the weights.
    check_packages
        Raises `MissingDependencyError` if the installed packages cannot load a checkpoint; called before a download.
    terms
        Returns the licence that the user must accept for a checkpoint, whose weights are not needed yet; None for a
        licence without conditions.
    copies
        Copies of the weights that exist at once: torch's, the exporter's, the graph in memory and as bytes, ONNX
        Runtime's. With the libraries, 5 is the measured 4.0 GB of CLIPSeg, whose weights are 0.6 GB.
    """

    model_types: Sequence[str]
    load: Callable[[Checkpoint, int | None], Model]
    licence: Callable[[Checkpoint], str]
    part: Part = "whole"
    memory_needed: MemoryNeeded | None = None
    check_packages: Callable[[], None] | None = None
    terms: Callable[[Checkpoint], Terms] | None = None
    copies: float = 5.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A published checkpoint: one row of `automask export --list`.

    Attributes
    ----------
    name
        Short name, which stands for the Hub id on the command line.
    hub_id
        ``owner/name``.
    licence
        Licence of the weights.
    forbids
        What the licence forbids, in a few words; empty if nothing that concerns a user.
    image_size
        Side of the square that images are resized to, in pixels.
    megabytes
        Size of the weights to download.
    good_at
        What to take it for, in a few words.
    """

    name: str
    hub_id: str
    licence: str
    forbids: str
    image_size: int
    megabytes: int
    good_at: str


@dataclass(frozen=True, slots=True)
class Architecture:
    """A folder of `architectures/`.

    Attributes
    ----------
    help
        Its first sentence is in the help of `automask export`; all of it in the help of the folder's own name.
    checkpoints
        What the shared pipeline needs to know of it; None if the architecture has a build function of its own.
    catalogue
        Published checkpoints, the default one first.
    options
        Options of the command with the folder's name, among them ``--output`` and ``--force``; with `build` only.
    build
        Builds the bundle from the options' values by name and `progress`, and returns what was measured. Only this may
        import torch; importing the architecture must not.
    """

    help: str
    checkpoints: CheckpointFormat | None = None
    catalogue: tuple[Entry, ...] = ()
    options: tuple[click.Option, ...] = ()
    build: Build | None = None


def output_option(default: str | None = None) -> click.Option:
    """Make ``--output``; without a default, the bundle goes to the user's bundle folder."""
    # click takes an explicit default of None for a value.
    presence: dict[str, Any] = {} if default is None else {"default": default, "show_default": True}
    elsewhere = "  [default: in the user's bundle folder]" if default is None else ""
    return click.Option(
        ["--output", "-o"],
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help=f"Folder of the bundle to make.{elsewhere}",
        **presence,
    )


def photo_option() -> click.Option:
    """Make ``--photo``."""
    return click.Option(
        ["--photo"],
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        metavar="FILE",
        help="Photo to measure parity on, instead of a synthetic image.",
    )


def force_option() -> click.Option:
    """Make ``--force``."""
    return click.Option(["--force"], is_flag=True, help="Replace an existing bundle at the output.")


def checkpoint_architecture(
    *,
    help: str,  # noqa: A002 (click's own name)
    model_types: tuple[str, ...],
    part: Part,
    catalogue: tuple[Entry, ...],
    load: Callable[[Checkpoint, int | None], Model],
    licence: Callable[[Checkpoint], str],
    memory_needed: MemoryNeeded | None = None,
    check_packages: Callable[[], None] | None = None,
    terms: Callable[[Checkpoint], Terms] | None = None,
    copies: float = 5.0,
) -> Architecture:
    """Describe an architecture whose checkpoints are transformers' and which the shared pipeline exports.

    Parameters
    ----------
    help, catalogue
        As in `Architecture`.
    model_types, part, load, licence, memory_needed, check_packages, terms, copies
        As in `CheckpointFormat`.
    """
    kind = CheckpointFormat(model_types, load, licence, part, memory_needed, check_packages, terms, copies)
    return Architecture(help, kind, catalogue)
