"""The interface of an architecture: its command, options and build function, without torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from .checkpoint import Checkpoint
from .figures import Report
from .manifest import PRECISIONS
from .model import Model
from .pipeline import CheckpointFormat, ExportOptions, MemoryNeeded, Part, Progress, export_checkpoint

__all__ = ["Architecture", "Build", "Entry", "checkpoint_architecture", "force_option", "output_option", "photo_option"]


# build(output, force=..., progress=..., **options) -> Report
Build = Callable[..., Report]


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
    """One command of `automask export`.

    Attributes
    ----------
    help
        Help text of the command; its first sentence is in the list of commands.
    options
        Options of the command, among them ``--output`` and ``--force``.
    build
        Builds the bundle from the options' values by name and `progress`, and returns what was measured. Only this may
        import torch; importing the architecture must not.
    checkpoints
        What the shared pipeline needs to know of it; None if the architecture has a build function of its own.
    catalogue
        Published checkpoints, the default one first.
    """

    help: str
    options: tuple[click.Option, ...]
    build: Build
    checkpoints: CheckpointFormat | None = None
    catalogue: tuple[Entry, ...] = ()


def output_option(default: str | None = None) -> click.Option:
    """Make ``--output``; required if there is no default."""
    # click takes an explicit default of None for a value.
    presence: dict[str, Any] = {"required": True} if default is None else {"default": default, "show_default": True}
    return click.Option(
        ["--output", "-o"],
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="Folder of the bundle to make.",
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
) -> Architecture:
    """Describe an architecture whose checkpoints are transformers' and which the shared pipeline exports.

    Parameters
    ----------
    help
        Its first sentence is in the list of commands.
    model_types, load, licence, part, memory_needed
        As in `CheckpointFormat`.
    catalogue
        Published checkpoints, the default one first.
    """
    kind = CheckpointFormat(model_types, load, licence, part, memory_needed)

    def build(output: Path, *, force: bool, progress: Progress, **options: Any) -> Report:  # noqa: ANN401
        return export_checkpoint(output, ExportOptions(**options), kind, force=force, progress=progress)

    return Architecture(help, _checkpoint_options(catalogue[0].hub_id), build, kind, catalogue)


def _checkpoint_options(default_model: str) -> tuple[click.Option, ...]:
    return (
        click.Option(
            ["--model"],
            default=default_model,
            show_default=True,
            metavar="ID|DIR",
            help="Checkpoint of transformers: a Hub id, or a folder (of a fine-tune, for example).",
        ),
        click.Option(["--revision"], metavar="REV", help="Branch, tag or commit on the Hub."),
        output_option(),
        click.Option(
            ["--precision", "precisions"],
            type=click.Choice(PRECISIONS),
            multiple=True,
            default=["fp32", "int8"],
            show_default=True,
            callback=lambda _context, _option, values: tuple(dict.fromkeys(values)),
            help="Precision of the graphs; repeat the option for several in one bundle.",
        ),
        click.Option(
            ["--image-size"],
            type=click.IntRange(min=1),
            metavar="PIXELS",
            help="Side of the square that images are resized to.  [default: the checkpoint's own]",
        ),
        click.Option(
            ["--optimize"],
            is_flag=True,
            help="Fuse attention into ONNX Runtime's own operator: a few percent faster on CPUs; TensorRT cannot "
            "read it.",
        ),
        photo_option(),
        force_option(),
    )
