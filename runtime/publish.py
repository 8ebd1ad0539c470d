"""Publishing a bundle: its folder is filled beside the output, and moved there only after every step succeeded."""

from __future__ import annotations

import errno
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .bundle import MANIFEST
from .errors import AutomaskError

__all__ = ["OutputError", "SpaceError", "check_output", "check_space", "ending_cleanly", "staged", "write_json"]


class OutputError(AutomaskError, FileExistsError):
    """The output folder exists and must not be replaced."""


class SpaceError(AutomaskError, OSError):
    """The disk is full, or has less space than is needed."""


def check_output(output: Path, *, force: bool) -> None:
    """Check that a folder is free, empty, or a bundle that may be replaced.

    Raises
    ------
    OutputError
        The folder holds anything else, or a bundle and `force` is false.
    """
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not (output / MANIFEST).is_file():
        raise OutputError(f"{output} exists and is no bundle (no {MANIFEST}); use another --output")
    if not force:
        raise OutputError(f"{output} holds a bundle already; use another --output, or --force to replace it")


def check_space(folder: Path, needed: int) -> None:
    """Check the free space of a disk.

    Parameters
    ----------
    folder
        Folder to write to; it need not exist yet.
    needed
        Bytes.

    Raises
    ------
    SpaceError
        The disk has less.
    """
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise SpaceError(f"{existing} must have {needed / 1e6:.0f} MB free, got {free / 1e6:.0f} MB")


@contextmanager
def staged(output: Path) -> Iterator[tuple[Path, Path]]:
    """Yield two empty folders: one to fill with the bundle and one for temporary files.

    If the block ends without an error, the first becomes `output`, and replaces a bundle there.

    Raises
    ------
    SpaceError
        The disk became full.
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


@contextmanager
def ending_cleanly() -> Iterator[None]:
    """Exit by an exception on SIGTERM, as on Ctrl-C, so that temporary files are removed."""
    previous = signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def write_json(path: Path, content: object, *, indent: int | None) -> None:
    """Write UTF-8 JSON; without an indent compact and with sorted keys."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(content, ensure_ascii=False, indent=indent, separators=separators, sort_keys=indent is None)
    path.write_text(text + "\n", encoding="utf-8")
