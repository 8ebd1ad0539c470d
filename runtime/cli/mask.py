"""`automask mask`: images in, masks out."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click

from ..devices import AUTO, Device, device_names
from ..errors import AutomaskError, EmptyMaskError
from ..images import ImageSource
from ..loading import load
from ..parameters import Options
from ..result import Result
from .inputs import STDIO, Job, plan
from .options import mask_options, secret_options
from .selecting import selection_options
from .summaries import describe, summarise

__all__ = ["mask"]


@click.command(no_args_is_help=True)
@click.argument("arguments", nargs=-1, metavar="IMAGE... [PROMPT]")
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    help="File for one image, folder for several, - for standard output. [default: NAME.mask.png beside each image]",
)
@click.option(
    "--model",
    metavar="MODEL",
    help="Built-in name, bundle folder or Hub id; with --server, one of its models. [default: default, or its first]",
)
@mask_options
@selection_options
@click.option("--device", type=click.Choice(device_names()), help=f"Where to run. [default: {AUTO}]")
@click.option("--server", metavar="ADDRESS", help="Use a server: host:port, or unix:/path for a socket.")
@secret_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per image to standard output.")
def mask(
    *,
    arguments: Sequence[str],
    output: str | None,
    model: str | None,
    exclude: Sequence[str],
    options: Options,
    device: Device | None,
    server: str | None,
    secrets: Mapping[str, Any],
    as_json: bool,
) -> None:
    """Mask what PROMPT names in each IMAGE, or what --box or --point mark.

    IMAGE is a file, a folder, a glob pattern or - (standard input); PROMPT comes last, in quotes. The path of each
    file written goes to standard output, messages go to standard error. After an image that fails, the run goes on.

    \b
    automask mask room.jpg "sofa" -o sofa.png
    automask mask room.jpg "cup and spoon" --grow-mask 0 --threshold 0.3
    automask mask "photos/*.jpg" "dog" -o masks/ --json > masks.jsonl
    automask mask room.jpg "sofa" --server 127.0.0.1:50051
    automask mask room.jpg --box 120,80,640,410
    automask mask room.jpg "cup" --drop 1 --point 300,180,-

    Exit status: 0 done, 1 an image failed, 2 wrong usage, 3 nothing found (with --stop-on-empty-mask).
    """  # noqa: D301 (click takes the character itself as its mark for verbatim lines)
    images, prompt = _split(arguments, needs_prompt=not (options["box"] or options["points"]))
    if server is not None and device is not None:
        raise click.UsageError("--device is for this machine; a server has its own")
    kind = "alpha" if options["return_alpha"] else "mask" if options["return_mask"] else "preview"
    jobs = plan(images, output, kind)
    if jobs[0].target is None and as_json:
        raise click.UsageError("standard output carries the picture here; give -o FILE to use --json")
    if jobs[0].target is None and sys.stdout.isatty():
        raise click.UsageError("standard output is a terminal; redirect it or give -o FILE")
    report = _Report(as_json=as_json)
    with _masker(server, secrets, model, device or AUTO) as mask_many:
        answers = mask_many(_sources(jobs), prompt, exclude=exclude, return_errors=True, **options)
        with click.progressbar(
            zip(jobs, answers, strict=True),
            length=len(jobs),
            label="masking",
            file=sys.stderr,
            hidden=len(jobs) == 1,
        ) as progress:
            for job, answer in progress:
                report.add(job, answer)
    report.close()


@contextmanager
def _masker(
    server: str | None, secrets: Mapping[str, Any], model: str | None, device: Device
) -> Iterator[Callable[..., Iterator[Result | AutomaskError]]]:
    """Return the `mask_many` of a local model, or of a model of a server."""
    if server is None:
        yield load(model or "default", device=device).mask_many
        return
    from automask.service import Client

    with Client(server, **secrets) as client:
        yield partial(client.mask_many, model=model or "")


def _split(arguments: Sequence[str], *, needs_prompt: bool) -> tuple[Sequence[str], str | None]:
    """Return the images and the prompt; where none is needed, the last argument is one unless it is a file or alone."""
    if not needs_prompt and (len(arguments) == 1 or (arguments and Path(arguments[-1]).exists())):
        return arguments, None
    if len(arguments) < 2:
        raise click.UsageError('give at least one image and, last, the prompt: automask mask room.jpg "sofa"')
    *images, prompt = arguments
    if Path(prompt).is_file():
        raise click.UsageError(f"the prompt comes last, but {prompt!r} is a file")
    return images, prompt


def _sources(jobs: Sequence[Job]) -> Iterator[ImageSource]:
    for job in jobs:
        yield sys.stdin.buffer.read() if job.source is None else job.source


class _Report:
    """Writes results one by one, and counts them."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._printed: set[str] = set()
        self._counts: Counter[str] = Counter()

    def add(self, job: Job, answer: Result | AutomaskError) -> None:
        if isinstance(answer, Result):
            try:
                self._write(job, answer)
            except (AutomaskError, OSError) as error:
                self._fail(job, error)
        else:
            self._fail(job, answer)

    def _write(self, job: Job, result: Result) -> None:
        if job.target is None:
            sys.stdout.buffer.write(result.encode())
        else:
            job.target.parent.mkdir(parents=True, exist_ok=True)
            result.save(job.target)
            click.echo(json.dumps(_describe(job, result)) if self._as_json else str(job.target))
        self._counts["masked"] += 1
        self._counts["empty"] += result.is_empty
        for warning in result.warnings:
            self._print(f"note: {warning}")
        self._print(f"{job.name}: {summarise(result)}", once=False)

    def _fail(self, job: Job, error: Exception) -> None:
        self._counts["nothing found" if isinstance(error, EmptyMaskError) else "failed"] += 1
        if self._as_json:
            problem = {"type": type(error).__name__, "message": str(error)}
            click.echo(json.dumps({"image": str(job.source or STDIO), "error": problem}))
        named = "" if job.name in str(error) else f"{job.name}: "
        self._print(f"automask: error: {named}{error}", once=False)

    def _print(self, text: str, *, once: bool = True) -> None:
        if not once or text not in self._printed:
            click.echo(text, err=True)
        if once:
            self._printed.add(text)

    def close(self) -> None:
        """Print the counts of several images, and exit with the status that they mean."""
        if self._counts.total() - self._counts["empty"] > 1:
            self._print(", ".join(f"{count} {what}" for what, count in self._counts.items() if count))
        if self._counts["failed"]:
            sys.exit(1)
        if self._counts["nothing found"]:
            sys.exit(3)


def _describe(job: Job, result: Result) -> dict[str, Any]:
    return {"image": str(job.source or STDIO), "output": str(job.target), **describe(result)}
