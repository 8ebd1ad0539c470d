"""The options of a run, and the error of a question that this machine cannot answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from automask.folders import cache_folder

T = TypeVar("T")


class MissingRequirementError(Exception):
    """A question cannot be answered on this machine. The message names what is missing."""


@dataclass(frozen=True)
class RunOptions:
    """How thoroughly to measure, and where to put temporary files.

    Attributes
    ----------
    quick
        Only check that everything works: small models and few rounds. The figures mean nothing.
    folder
        Temporary folder, shared by the questions of one run and deleted after it.
    data
        Photos with ground truth, for the questions `quality` and `edges`.
    models
        Folder in which the models of the questions `open_vocabulary` and `concept` are kept, so that they are exported
        once.
    device
        Where the question `concept` runs.
    """

    quick: bool
    folder: Path
    data: Path | None = None
    models: Path = field(default_factory=lambda: cache_folder() / "benchmarks")
    device: str = "cpu"

    @property
    def warm(self) -> int:
        """Rounds for warming up, before those that count."""
        return self.pick(1, 0)

    def pick(self, thorough: T, quick: T) -> T:
        """Return the second value in a quick run, else the first."""
        return quick if self.quick else thorough


@contextmanager
def requires(what: str) -> Iterator[None]:
    """Turn an ImportError inside the block into an error that names what to install.

    Raises
    ------
    MissingRequirementError
        An import failed.
    """
    try:
        yield
    except ImportError as error:
        raise MissingRequirementError(f"needs {what} ({error})") from error
