"""Runs over images, which `automask mask` and `automask cutout` share: their options, and the run itself."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import partial, wraps
from itertools import groupby
from typing import Any

import click
from click.core import ParameterSource

from ..devices import AUTO, Device, device_names
from ..errors import AutomaskError, UnknownPromptError
from ..images import DEFAULT_MAX_PIXELS, ImageSource
from ..loading import load
from ..parameters import Options
from ..result import Result
from .inputs import Job, count_subfolders, for_each_prompt, plan
from .notes import notes_of_loading
from .options import secret_options
from .report import Encode, Report
from .settings import CONTEXT, config_option, first_model

__all__ = ["CONTEXT", "Batch", "batch_options"]

_HERE = (
    "device",
    "precision",
    "threads",
    "gpu_memory_mb",
    "max_pixels",
    "prove",
)  # options that a server has for itself

_OPTIONS = (
    click.option(
        "-o",
        "--output",
        metavar="PATH",
        help="File for one image (.png or .webp), folder for several, - for standard output. [default: beside each "
        "image]",
    ),
    click.option(
        "--recursive", is_flag=True, help="Take the images in the subfolders of a folder, too; links are not followed."
    ),
    click.option("--skip-existing", is_flag=True, help="Skip an image whose result exists."),
    click.option(
        "--model",
        metavar="MODEL",
        callback=first_model,
        help="Name (`automask models`), bundle folder or Hub id; with --server, one of its models. [default: default, "
        "or its first]",
    ),
    click.option("--device", type=click.Choice(device_names()), help=f"Where to run. [default: {AUTO}]"),
    click.option("--precision", metavar="NAME", help="Precision of the model, such as int8. [default: fastest]"),
    click.option("--threads", type=click.IntRange(min=1), help="CPU threads. [default: one per core]"),
    click.option(
        "--gpu-memory-mb",
        type=click.IntRange(min=1),
        help="Maximum GPU memory, in MB, of each graph of the model. [default: no limit]",
    ),
    click.option(
        "--prove/--no-prove",
        default=True,
        help="Compare a model with what it computed at export, once for each device. [default: --prove]",
    ),
    click.option(
        "--max-pixels",
        type=click.IntRange(min=1),
        default=DEFAULT_MAX_PIXELS,
        show_default=True,
        help="Maximum pixels of an image, width times height.",
    ),
    click.option("--server", metavar="ADDRESS", help="Use a server: host:port, or unix:/path for a socket."),
    secret_options,
    click.option(
        "--json",
        "as_json",
        is_flag=True,
        envvar="AUTOMASK_JSON",
        help="Print one JSON object per image to standard output.",
    ),
    config_option,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A run over images: where they go, and what masks them. The fields are the options of the same names."""

    output: str | None
    recursive: bool
    skip_existing: bool
    model: str | None
    device: Device | None
    precision: str | None
    threads: int | None
    gpu_memory_mb: int | None
    prove: bool
    max_pixels: int
    server: str | None
    secrets: Mapping[str, Any]
    as_json: bool

    def run(
        self,
        images: Sequence[str],
        prompt: str | Sequence[str] | None,
        kind: str,
        encode: Encode,
        *,
        exclude: Sequence[str],
        options: Options,
    ) -> None:
        """Mask each image, write its picture, and exit with the status of the run.

        Parameters
        ----------
        images, kind
            As for `plan`.
        prompt, exclude, options
            As for `Segmenter.mask_many`; several prompts get one picture each, and one that fails leaves the others.
        encode
            Makes the picture of a result.

        Raises
        ------
        click.UsageError
            The options do not fit together.
        UnknownPromptError
            The model does not know the prompt, so that no image can be masked.
        """
        jobs = plan(images, self.output, kind, recursive=self.recursive)
        self._check(jobs)
        unit = "image"
        if prompt is not None and not isinstance(prompt, str):
            jobs, unit = for_each_prompt(jobs, prompt, kind), "mask"
        report = Report(len(jobs), encode, as_json=self.as_json, unit=unit)
        skipped = count_subfolders(images)
        if skipped and not self.recursive:
            report.note(f"subfolders are not searched, {skipped} here: --recursive takes their images, too")
        if self.skip_existing:
            done = [job for job in jobs if job.target is not None and job.target.exists()]
            report.skip(done)
            jobs = [job for job in jobs if job not in done]
        try:
            if jobs:
                self._mask(jobs, prompt, report, options={"exclude": exclude, **options})
        except KeyboardInterrupt:
            report.interrupt()
        finally:
            report.clear_progress()
        report.close()

    def _mask(
        self, jobs: Sequence[Job], prompt: str | Sequence[str] | None, report: Report, *, options: Mapping[str, Any]
    ) -> None:
        with self._masker() as (mask, mask_many):
            answers: Iterator[Result | AutomaskError]
            if prompt is None or isinstance(prompt, str):
                answers = mask_many(_sources(jobs), prompt, return_errors=True, **options)
            else:
                answers = _mask_each(mask, jobs, options)
            report.show_progress()
            for job, answer in zip(jobs, answers, strict=True):
                if isinstance(answer, UnknownPromptError) and not job.prompt:  # the same for every image
                    raise answer
                report.add(job, answer)

    def _check(self, jobs: Sequence[Job]) -> None:
        context = click.get_current_context()
        named = [name for name in _HERE if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
        if self.server is not None and named:
            option = f"--{named[0].replace('_', '-')}"
            raise click.UsageError(f"{option} is for this machine; a server has its own")
        if jobs[0].target is None and self.as_json:
            raise click.UsageError("standard output carries the picture here; give -o FILE to use --json")
        if jobs[0].target is None and sys.stdout.isatty():
            raise click.UsageError("standard output is a terminal; redirect it or give -o FILE")

    @contextmanager
    def _masker(self) -> Iterator[tuple[Callable[..., Any], Callable[..., Iterator[Result | AutomaskError]]]]:
        """Return `mask` and `mask_many` of a local model, or of a model of a server."""
        if self.server is None:
            with notes_of_loading():
                segmenter = load(
                    self.model or "default",
                    device=self.device or AUTO,
                    precision=self.precision,
                    threads=self.threads,
                    max_pixels=self.max_pixels,
                    prove=self.prove,
                    gpu_memory_bytes=None if self.gpu_memory_mb is None else self.gpu_memory_mb * 1_000_000,
                )
            yield segmenter.mask, segmenter.mask_many
            return
        from automask.service import Client

        with Client(self.server, **self.secrets) as client:
            model = self.model or ""
            yield partial(client.mask, model=model), partial(client.mask_many, model=model)


def batch_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a run to a command, which gets them as `batch`."""

    @wraps(command)
    def gather(**values: Any) -> Any:  # noqa: ANN401 (the parameters of the command)
        batch = Batch(**{field.name: values.pop(field.name) for field in fields(Batch)})
        return command(batch=batch, **values)

    for option in reversed(_OPTIONS):  # click lists the decorator that is applied last first
        gather = option(gather)
    return gather


def _mask_each(
    mask: Callable[..., Any], jobs: Sequence[Job], options: Mapping[str, Any]
) -> Iterator[Result | AutomaskError]:
    """Yield the answer to each job, in order; those of one image share the work on it."""
    for _, group in groupby(jobs, lambda job: job.source):
        together = list(group)
        (source,) = _sources(together[:1])
        try:
            yield from mask(source, [job.prompt for job in together], return_errors=True, **options)
        except AutomaskError as error:
            yield from [error] * len(together)


def _sources(jobs: Sequence[Job]) -> Iterator[ImageSource]:
    for job in jobs:
        yield sys.stdin.buffer.read() if job.source is None else job.source
