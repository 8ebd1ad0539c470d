"""`automask mask`: pictures in, masks out."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from ..errors import AutomaskError, EmptyMaskError
from ..images import ImageSource
from ..loading import load
from ..parameters import Parameters
from ..postprocess import MAX_RADIUS
from ..result import Result
from ..session import DEVICES, Device
from .inputs import STDIO, Job, plan

__all__ = ["mask"]

_DEFAULTS = Parameters()


@click.command(no_args_is_help=True)
@click.argument("arguments", nargs=-1, metavar="IMAGE... PROMPT")
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    help="File for one image, folder for several, - for standard output. [default: NAME.mask.png beside each image]",
)
@click.option(
    "--model",
    default="default",
    show_default=True,
    metavar="MODEL",
    help="Built-in name, bundle folder or Hub id.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    default=_DEFAULTS.threshold,
    show_default=True,
    help="Least score of what is taken: lower finds more, higher is surer.",
)
@click.option(
    "--grow-mask",
    type=click.IntRange(0, MAX_RADIUS),
    default=_DEFAULTS.grow_mask,
    show_default=True,
    help="Expand the mask by this many pixels.",
)
@click.option("--invert-mask", is_flag=True, help="Mask everything but the prompt.")
@click.option("--exclude", multiple=True, metavar="PROMPT", help="Leave this out; may be given several times.")
@click.option("--return-alpha", is_flag=True, help="Write the photo cut out by the mask (RGBA).")
@click.option("--preview", is_flag=True, help="Write the photo with the mask tinted over it.")
@click.option("--stop-on-empty-mask", is_flag=True, help="Write nothing and exit with 3 where nothing is found.")
@click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True, help="Where to run.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per image to standard output.")
def mask(
    *,
    arguments: Sequence[str],
    output: str | None,
    model: str,
    threshold: float,
    grow_mask: int,
    invert_mask: bool,
    exclude: Sequence[str],
    return_alpha: bool,
    preview: bool,
    stop_on_empty_mask: bool,
    device: Device,
    as_json: bool,
) -> None:
    """Mask what PROMPT names in each IMAGE.

    IMAGE is a file, a folder, a glob pattern or - (standard input); PROMPT comes last, in quotes. The path of each
    picture written goes to standard output, everything said about it to standard error. One bad file does not end
    the run.

    \b
    automask mask room.jpg "sofa" -o sofa.png
    automask mask room.jpg "cup and spoon" --grow-mask 0 --threshold 0.3
    automask mask "photos/*.jpg" "dog" -o masks/ --json > masks.jsonl

    Exit status: 0 done, 1 failed on some, 2 wrong usage, 3 nothing found (with --stop-on-empty-mask).
    """  # noqa: D301 (click takes the character itself as its mark for verbatim lines)
    images, prompt = _split(arguments)
    if return_alpha and preview:
        raise click.UsageError("--return-alpha and --preview exclude each other")
    kind = "alpha" if return_alpha else "preview" if preview else "mask"
    jobs = plan(images, output, kind)
    if jobs[0].target is None and as_json:
        raise click.UsageError("standard output carries the picture here; give -o FILE to use --json")
    if jobs[0].target is None and sys.stdout.isatty():
        raise click.UsageError("standard output is a terminal; redirect it or give -o FILE")
    answers = load(model, device=device).mask_many(
        _sources(jobs),
        prompt,
        exclude=exclude,
        return_errors=True,
        threshold=threshold,
        grow_mask=grow_mask,
        invert_mask=invert_mask,
        return_mask=not preview,
        return_alpha=return_alpha,
        stop_on_empty_mask=stop_on_empty_mask,
    )
    with click.progressbar(
        zip(jobs, answers, strict=True),
        length=len(jobs),
        label="masking",
        file=sys.stderr,
        hidden=len(jobs) == 1,
    ) as progress:
        report = _Report(as_json=as_json)
        for job, answer in progress:
            report.add(job, answer)
    report.close()


def _split(arguments: Sequence[str]) -> tuple[Sequence[str], str]:
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
    """Writes results as they come and counts them."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._said: set[str] = set()
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
            self._say(f"note: {warning}")
        self._say(f"{job.name}: {_summary(result)}", once=False)

    def _fail(self, job: Job, error: Exception) -> None:
        self._counts["nothing found" if isinstance(error, EmptyMaskError) else "failed"] += 1
        if self._as_json:
            problem = {"type": type(error).__name__, "message": str(error)}
            click.echo(json.dumps({"image": str(job.source or STDIO), "error": problem}))
        named = "" if job.name in str(error) else f"{job.name}: "
        self._say(f"automask: error: {named}{error}", once=False)

    def _say(self, text: str, *, once: bool = True) -> None:
        if not once or text not in self._said:
            click.echo(text, err=True)
        if once:
            self._said.add(text)

    def close(self) -> None:
        """Sum up where there were several, and exit as the counts say."""
        if self._counts.total() - self._counts["empty"] > 1:
            self._say(", ".join(f"{count} {what}" for what, count in self._counts.items() if count))
        if self._counts["failed"]:
            sys.exit(1)
        if self._counts["nothing found"]:
            sys.exit(3)


def _summary(result: Result) -> str:
    share = 100 * float((result.mask != 0).mean())
    found = Counter(instance.label for instance in result.instances)
    what = ", ".join(f"{count} × {label}" for label, count in found.items()) or "something"
    return (
        f"{'nothing found' if result.is_empty else what}, {share:.1f} % of the picture masked, "
        f"{result.timings['total']:.0f} ms on {result.device}"
    )


def _describe(job: Job, result: Result) -> dict[str, Any]:
    return {
        "image": str(job.source or STDIO),
        "output": str(job.target),
        "prompt": result.prompt,
        "labels": result.labels,
        "dropped": result.dropped,
        "warnings": result.warnings,
        "is_empty": result.is_empty,
        "width": result.mask.shape[1],
        "height": result.mask.shape[0],
        "instances": [
            {
                "label": one.label,
                "score": round(one.score, 4),
                "box": [round(side, 1) for side in one.box],
                "rle": one.rle,
            }
            for one in result.instances
        ],
        "timings_ms": {stage: round(ms, 2) for stage, ms in result.timings.items()},
        "device": result.device,
        "model": result.model,
    }
