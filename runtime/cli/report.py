"""The output of a run over images: files, lines, progress and exit status."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import click

from ..errors import AutomaskError, EmptyMaskError
from ..result import Result
from .inputs import STDIO, Job
from .summaries import describe, summarise

__all__ = ["Encode", "Report"]

Encode = Callable[[Result, str], bytes]
"""Returns the picture of a result as a file of a format, ``.png`` or ``.webp``."""

Outcome = Literal["masked", "empty", "nothing found", "failed", "skipped"]


class Report:
    """Writes results one by one, and counts them. Each image is counted once.

    Parameters
    ----------
    total
        Number of images.
    encode
        Makes the picture of each result.
    as_json
        Print one JSON object per image, instead of the name of each file.
    unit
        What is counted: ``image``, or ``mask`` where there are several for an image.
    """

    def __init__(self, total: int, encode: Encode, *, as_json: bool, unit: str = "image") -> None:
        self._total, self._encode, self._as_json, self._unit = total, encode, as_json, unit
        self._printed: set[str] = set()
        self._counts: Counter[Outcome] = Counter()
        self._bar = ""
        self._has_bar = total > 1 and sys.stderr.isatty()

    def skip(self, jobs: Sequence[Job]) -> None:
        """Count images whose results exist."""
        self._counts["skipped"] += len(jobs)

    def note(self, text: str) -> None:
        """Print a remark, once."""
        if text not in self._printed:
            self._printed.add(text)
            self._print(f"note: {text}")

    def add(self, job: Job, answer: Result | AutomaskError) -> None:
        """Write the picture of a result, or print an error."""
        if isinstance(answer, Result):
            try:
                self._write(job, answer)
            except (AutomaskError, OSError) as error:
                self._fail(job, error)
            else:
                self._describe(job, answer)
        else:
            self._fail(job, answer)
        self.show_progress()

    def _write(self, job: Job, result: Result) -> None:
        if job.target is None:
            sys.stdout.buffer.write(self._encode(result, ".png"))
        else:
            picture = self._encode(result, job.target.suffix.lower())
            job.target.parent.mkdir(parents=True, exist_ok=True)
            _replace(job.target, picture)
        self._counts["empty" if result.is_empty else "masked"] += 1

    def _describe(self, job: Job, result: Result) -> None:
        if job.target is not None:
            self._print(json.dumps(_describe(job, result)) if self._as_json else str(job.target), err=False)
        for warning in result.warnings:
            self.note(warning)
        self._print(f"{job.name}: {summarise(result)}")

    def _fail(self, job: Job, error: Exception) -> None:
        self._counts["nothing found" if isinstance(error, EmptyMaskError) else "failed"] += 1
        if self._as_json:
            problem = {"type": type(error).__name__, "message": str(error)}
            prompt = {"prompt": job.prompt} if job.prompt else {}
            self._print(json.dumps({"image": str(job.source or STDIO), **prompt, "error": problem}), err=False)
        named = "" if job.name in str(error) else f"{job.name}: "
        self._print(f"automask: error: {named}{error}")

    def show_progress(self) -> None:
        """Show how many images are done, on a terminal."""
        done = self._counts.total()
        if self._has_bar and done < self._total:
            self._bar = f"masking: {done} of {self._total} {self._unit}s"
            click.echo(f"\r{self._bar}", err=True, nl=False)

    def _print(self, text: str, *, err: bool = True) -> None:
        self.clear_progress()
        click.echo(text, err=err)

    def clear_progress(self) -> None:
        """Remove the progress, so that a line does not begin behind it."""
        if self._bar:
            click.echo(f"\r{' ' * len(self._bar)}\r", err=True, nl=False)
            sys.stderr.flush()
            self._bar = ""

    def interrupt(self) -> None:
        """Print how far a run came that was stopped, and exit with 130."""
        self._print(
            f"automask: interrupted after {self._counts.total()} of {self._total} {self._unit}s{self._list_counts()}"
        )
        sys.exit(130)

    def close(self) -> None:
        """Print the counts of several images, and exit with the status that they mean."""
        self.clear_progress()
        if self._total > 1 or self._counts["skipped"]:
            self._print(f"{self._total} {self._unit}{'s' if self._total > 1 else ''}{self._list_counts()}")
        if self._counts["failed"]:
            sys.exit(1)
        if self._counts["nothing found"]:
            sys.exit(3)

    def _list_counts(self) -> str:
        counts = ", ".join(f"{self._counts[what]} {what}" for what in get_args(Outcome) if self._counts[what])
        return f": {counts}" if counts else ""


def _replace(path: Path, content: bytes) -> None:
    """Write a file as a whole: an interrupted run leaves no part of one, which --skip-existing would take for done."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _describe(job: Job, result: Result) -> dict[str, Any]:
    return {"image": str(job.source or STDIO), "output": str(job.target), **describe(result)}
