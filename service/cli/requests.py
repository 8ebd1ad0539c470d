"""`automask submit`, `status`, `watch`, `result` and `cancel`: asynchronous requests."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import click

from automask.cli.inputs import STDIO
from automask.cli.options import mask_options, secret_options
from automask.cli.selecting import selection_options
from automask.cli.summaries import describe, summarise
from automask.errors import AutomaskError, CancelledError, EmptyMaskError
from automask.parameters import Options
from automask.result import FORMATS, Result

from ..client.client import Client
from ..client.connections import DEFAULT_TARGET
from ..client.responses import JobStatus
from ..config.durations import parse_duration
from .callbacks import parse_with

__all__ = ["cancel", "result", "status", "submit", "watch"]

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _with_client(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the connection options to a command and pass it a `client`."""

    @click.option(
        "--server",
        envvar="AUTOMASK_SERVER",
        show_envvar=True,
        default=DEFAULT_TARGET,
        show_default=True,
        metavar="ADDRESS",
        help="Address of the server: host:port, or unix:/path for a Unix socket.",
    )
    @secret_options
    @wraps(command)
    def connect(*, server: str, secrets: Mapping[str, Any], **others: Any) -> Any:  # noqa: ANN401 (the command's own)
        with Client(server, **secrets) as client, _exit_on_empty_mask():
            return command(client=client, **others)

    return connect


@contextmanager
def _exit_on_empty_mask() -> Iterator[None]:
    try:
        yield
    except EmptyMaskError as error:
        click.echo(f"automask: error: {error}", err=True)
        sys.exit(3)


@click.command(no_args_is_help=True)
@click.argument("image")
@click.argument("prompt", required=False)
@click.option("--model", default="", metavar="MODEL", help="Name of a model of the server. [default: its first]")
@click.option(
    "--prompt",
    "prompts",
    multiple=True,
    metavar="PROMPT",
    help="What to mask, instead of the last argument. Repeatable: each prompt gets a mask of its own.",
)
@click.option(
    "--return-errors",
    is_flag=True,
    help="With several prompts, do not fail if one is unknown or matches nothing: it gets an error, the others masks.",
)
@mask_options
@selection_options
@click.option("--idempotency-key", metavar="KEY", help="Repeating a submit with the same key returns the same request.")
@click.option(
    "--deadline",
    callback=parse_with(parse_duration),
    metavar="DURATION",
    help="Fail the request if it is not finished by then, such as 30s.",
)
@_with_client
def submit(
    *,
    image: str,
    prompt: str | None,
    prompts: Sequence[str],
    return_errors: bool,
    model: str,
    exclude: Sequence[str],
    options: Options,
    idempotency_key: str | None,
    deadline: float | None,
    client: Client,
) -> None:
    """Submit a request to a server and print its id.

    IMAGE is a file or - (standard input). PROMPT may be left out with --box or --point. When the id is printed, the
    request is on the server's disk and survives a crash. The server keeps the result for one hour by default
    (`automask serve --retention`).

    \b
    id=$(automask submit room.jpg "sofa" --server 127.0.0.1:50051)
    automask watch $id
    automask result $id -o sofa.png --wait 60s
    automask submit room.jpg --prompt "sofa" --prompt "the sky" --return-errors

    Exit status: 0 submitted, 1 rejected, 2 wrong usage.
    """  # noqa: D301 (click takes the character itself as its mark for verbatim lines)
    more: dict[str, Any] = {
        "exclude": exclude,
        "model": model,
        "idempotency_key": idempotency_key,
        "deadline": deadline,
        **options,
    }
    chosen = _choose_prompt(prompt, prompts, return_errors=return_errors, is_marked=bool(more["box"] or more["points"]))
    if return_errors:
        more["return_errors"] = True
    job = client.submit(sys.stdin.buffer.read() if image == STDIO else image, chosen, **more)
    click.echo(job.request_id)


def _choose_prompt(
    prompt: str | None, prompts: Sequence[str], *, return_errors: bool, is_marked: bool
) -> str | Sequence[str] | None:
    """Return what to mask: one prompt, several, or none."""
    if prompt is not None and prompts:
        raise click.UsageError("PROMPT and --prompt exclude each other")
    if return_errors and len(prompts) < 2:
        raise click.UsageError("--return-errors needs several prompts: --prompt A --prompt B")
    if prompt is None and not prompts and not is_marked:
        raise click.UsageError("Missing argument 'PROMPT'; it may be left out with --box or --point only.")
    return prompts if len(prompts) > 1 else next(iter(prompts), prompt)


@click.command(no_args_is_help=True)
@click.argument("request_id", metavar="ID")
@_JSON
@_with_client
def status(*, request_id: str, as_json: bool, client: Client) -> None:
    """Print the status of a request.

    Exit status: 0 printed, 1 unknown request, 2 wrong usage.
    """
    _print_status(client.job(request_id).status(), as_json=as_json)


@click.command(no_args_is_help=True)
@click.argument("request_id", metavar="ID")
@_JSON
@_with_client
def watch(*, request_id: str, as_json: bool, client: Client) -> None:
    """Print the status of a request now and at every change, until it is finished.

    Exit status: 0 completed, 1 failed or cancelled, 2 wrong usage, 3 nothing found.
    """
    for last in client.job(request_id).watch():
        _print_status(last, as_json=as_json)
    if last.error is not None:
        sys.exit(3 if isinstance(last.error, EmptyMaskError) else 1)


@click.command(no_args_is_help=True)
@click.argument("request_id", metavar="ID")
@_JSON
@_with_client
def cancel(*, request_id: str, as_json: bool, client: Client) -> None:
    """Cancel a request unless it is finished, and print its status.

    Exit status: 0 cancelled or finished before, 1 unknown request, 2 wrong usage.
    """
    _print_status(client.job(request_id).cancel(), as_json=as_json)


@click.command(no_args_is_help=True)
@click.argument("request_id", metavar="ID")
@click.option(
    "-o", "--output", required=True, metavar="FILE", help="File to write the picture to, - for standard output."
)
@click.option(
    "--wait",
    callback=parse_with(parse_duration),
    default="0s",
    show_default=True,
    metavar="DURATION",
    help="Time to wait for the result, such as 60s or 1h.",
)
@_JSON
@_with_client
def result(*, request_id: str, output: str, wait: float, as_json: bool, client: Client) -> None:
    """Write the result of a request to a file.

    Several prompts give one file each: with -o out.png, these are out.1.png, out.2.png and so on. Of a request that was
    submitted with --return-errors, a prompt without a mask has an error instead of its file.

    \b
    automask result 0123456789abcdef0123456789abcdef -o sofa.png --wait 60s

    Exit status: 0 written, 1 failed, cancelled, unfinished or unknown request, or a prompt has an error, 2 wrong usage,
    3 nothing found.
    """  # noqa: D301 (click takes the character itself as its mark for verbatim lines)
    if output != STDIO and Path(output).suffix.lower() not in FORMATS:
        raise click.UsageError(f"-o {output}: must end in {' or '.join(FORMATS)} (lossless formats)")
    if output == STDIO and as_json:
        raise click.UsageError("--json needs -o FILE, because standard output is the picture")
    results = client.job(request_id, return_errors=True).result(wait)
    errors = [one for one in results if isinstance(one, AutomaskError)]
    if output == STDIO:
        if len(results) > 1:
            raise click.UsageError(f"standard output takes one picture, not {len(results)}: use -o FILE")
        sys.stdout.buffer.write(_picture(results[0]))
        return
    for target, one in zip(_targets(Path(output), len(results)), results, strict=True):
        _write(target, one, as_json=as_json)
    if errors:
        sys.exit(3 if all(isinstance(error, EmptyMaskError) for error in errors) else 1)


def _picture(one: Result | AutomaskError) -> bytes:
    if isinstance(one, AutomaskError):
        raise one
    return one.encode()


def _targets(output: Path, count: int) -> list[Path]:
    if count == 1:
        return [output]
    return [output.with_suffix(f".{number}{output.suffix}") for number in range(1, count + 1)]


def _write(target: Path, one: Result | AutomaskError, *, as_json: bool) -> None:
    if isinstance(one, AutomaskError):
        if as_json:
            click.echo(json.dumps({"output": None, "error": _describe_error(one)}))
        click.echo(f"automask: error: {target}: {one}", err=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    one.save(target)
    click.echo(json.dumps({"output": str(target), **describe(one)}) if as_json else str(target))
    for warning in one.warnings:
        click.echo(f"note: {warning}", err=True)
    click.echo(f"{target}: {summarise(one)}", err=True)


def _print_status(status: JobStatus, *, as_json: bool) -> None:
    click.echo(json.dumps(_describe(status)) if as_json else _format(status))


def _format(status: JobStatus) -> str:
    if status.queue_position is not None:
        return f"{status.state}, {status.queue_position} before it"
    if status.error is None or isinstance(status.error, CancelledError):
        return str(status.state)
    return f"{status.state}: {status.error}"


def _describe(status: JobStatus) -> dict[str, Any]:
    times = {
        name: time and time.isoformat()
        for name in ("created", "started", "ended", "expires")
        for time in [getattr(status, name)]
    }
    return {
        "request_id": status.request_id,
        "state": status.state,
        "queue_position": status.queue_position,
        "error": status.error and _describe_error(status.error),
        "attempts": status.attempts,
        **times,
    }


def _describe_error(error: AutomaskError) -> dict[str, str]:
    return {"type": type(error).__name__, "message": str(error)}
