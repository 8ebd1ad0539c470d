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
from .pipeline import CheckpointFormat, ExportOptions, Progress, export_checkpoint

__all__ = ["Architecture", "Build", "checkpoint_architecture", "force_option", "output_option", "photo_option"]


# build(output, force=..., progress=..., **options) -> Report
Build = Callable[..., Report]


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
    """

    help: str
    options: tuple[click.Option, ...]
    build: Build


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
    default_model: str,
    image_size: str,
    load: Callable[[Checkpoint, int | None], Model],
    licence: Callable[[Checkpoint], str],
) -> Architecture:
    """Describe an architecture whose checkpoints are transformers' and which the shared pipeline exports.

    Parameters
    ----------
    model_types, load, licence
        As in `CheckpointFormat`.
    default_model
        Hub id.
    image_size
        The default of ``--image-size``, in words.
    """
    kind = CheckpointFormat(model_types, load, licence)

    def build(output: Path, *, force: bool, progress: Progress, **options: Any) -> Report:  # noqa: ANN401
        return export_checkpoint(output, ExportOptions(**options), kind, force=force, progress=progress)

    return Architecture(help, _checkpoint_options(default_model, image_size), build)


def _checkpoint_options(default_model: str, image_size: str) -> tuple[click.Option, ...]:
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
            help=f"Side of the square that images are resized to.  [default: {image_size}]",
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
