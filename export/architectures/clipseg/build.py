"""A CLIPSeg bundle, from a checkpoint to a finished folder, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from automask.errors import MissingDependencyError

from ... import checkpoint as checkpoints
from ...checkpoint import Checkpoint
from ...publish import check_output, check_space, staged
from .manifest import licence

if TYPE_CHECKING:
    from .fill import Report

__all__ = ["DEFAULT_MODEL", "Request", "build"]

DEFAULT_MODEL = "CIDAS/clipseg-rd64-refined"
# Megabytes on disk for each byte of the checkpoint: what is written, and what the exporter holds beside it.
_SPACE = {"fp32": 1.0, "fp16": 0.5, "int8": 0.4}
_WORK = 1.0


@dataclass(frozen=True, slots=True)
class Request:
    """What to export.

    Attributes
    ----------
    model
        Folder or Hub id.
    precisions
        Some of ``fp32``, ``fp16``, ``int8``.
    size
        Side of the image in pixels; the checkpoint's own if None.
    optimize
        Fuse attention into ONNX Runtime's own operator.
    photo
        What to measure parity on; a drawn picture if None.
    """

    model: str = DEFAULT_MODEL
    revision: str | None = None
    precisions: Sequence[str] = ("fp32", "int8")
    size: int | None = None
    optimize: bool = False
    photo: Path | None = None


def build(output: Path, request: Request, *, force: bool, echo: Callable[[str], None]) -> Report:
    """Build a bundle.

    Parameters
    ----------
    output
        Folder to make. Nothing is left there unless everything succeeded.
    force
        Replace a bundle that is there.
    echo
        Called with lines that tell how it goes.

    Raises
    ------
    OutputError
        The folder exists and is not to be replaced.
    CheckpointNotFoundError, GatedError, ArchitectureError, CheckpointError, TokenizerError
        There is no such checkpoint, or it cannot be exported.
    ParameterError
        The size is not a multiple of the patch size.
    SpaceError
        The disk has no room.
    ParityError
        A graph does not compute what the checkpoint does.
    MissingDependencyError
        The extra ``export`` is not installed.
    """
    check_output(output, force=force)
    echo(f"checkpoint: {request.model}")
    checkpoint = checkpoints.find(request.model, revision=request.revision, supported=["clipseg"])
    echo(f"licence: {licence(checkpoint)}")
    check_space(output, _needed(checkpoint, request.precisions))
    # Only now, for they take seconds: what can be refused at once was.
    try:
        from .fill import fill
    except ImportError as error:
        raise MissingDependencyError(f"this export needs {error.name}: pip install 'automask[export]'") from error
    with staged(output) as (bundle, work):
        return fill(bundle, work, checkpoint, request, echo)


def _needed(checkpoint: Checkpoint, precisions: Sequence[str]) -> int:
    size = sum(file.stat().st_size for file in checkpoint.weights)
    return int(size * (_WORK + sum(_SPACE[precision] for precision in precisions)))
