"""A bundle's folder: checked before, filled beside its place, put there only when everything succeeded."""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from automask.bundle import MANIFEST
from automask.errors import AutomaskError

__all__ = ["OutputError", "SpaceError", "check_output", "check_space", "staged", "variant_name", "write_json"]


class OutputError(AutomaskError, FileExistsError):
    """The output folder is there already and may not be replaced."""


class SpaceError(AutomaskError, OSError):
    """The disk has no room for what is to be written."""


def check_output(output: Path, *, force: bool) -> None:
    """Refuse to touch a folder that is not ours, or that is but nobody said so.

    Raises
    ------
    OutputError
        See above.
    """
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not (output / MANIFEST).is_file():
        raise OutputError(f"{output} exists and is no bundle (no {MANIFEST}); give another --output")
    if not force:
        raise OutputError(f"{output} holds a bundle already; give another --output, or --force to replace it")


def check_space(folder: Path, needed: int) -> None:
    """Refuse at once what would fail after minutes.

    Parameters
    ----------
    folder
        Where to write; it need not exist yet.
    needed
        Bytes.

    Raises
    ------
    SpaceError
        There is less.
    """
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise SpaceError(f"{there} must have {needed / 1e6:.0f} MB free for this export, got {free / 1e6:.0f} MB")


@contextmanager
def staged(output: Path) -> Iterator[tuple[Path, Path]]:
    """Give a folder to fill and one to work in; the first becomes `output` when the block ends without an error.

    A bundle that is at `output` already is replaced.

    Raises
    ------
    SpaceError
        The disk was full.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as temporary:
            bundle, work = Path(temporary, "bundle"), Path(temporary, "work")
            bundle.mkdir()
            work.mkdir()
            yield bundle, work
            if output.exists():
                shutil.move(output, work / "replaced")
            bundle.rename(output)
    except OSError as error:
        if error.errno != errno.ENOSPC or isinstance(error, SpaceError):
            raise
        raise SpaceError(f"the disk that holds {output.parent} is full; nothing was left there") from error


def write_json(path: Path, content: object, *, indent: int | None) -> None:
    """Write UTF-8 JSON; without an indent compact and with sorted keys."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(content, ensure_ascii=False, indent=indent, separators=separators, sort_keys=indent is None)
    path.write_text(text + "\n", encoding="utf-8")


def variant_name(role: str, precision: str) -> str:
    """Name of a graph's file: float32 is the plain one."""
    return f"{role}.onnx" if precision == "fp32" else f"{role}.{precision}.onnx"
