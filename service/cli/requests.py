"""`automask submit`, `status`, `watch`, `result` and `cancel`: requests that are left with a server."""

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
from automask.cli.summaries import describe, summarise
from automask.errors import AutomaskError, CancelledError, EmptyMaskError, ParameterError
from automask.result import FORMATS, Result
from automask.segmenter import Options

from ..client.client import Client
from ..client.connections import DEFAULT_TARGET
from ..client.responses import JobStatus
from ..config.durations import parse_duration

__all__ = ["cancel", "result", "status", "submit", "watch"]

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _with_client(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a connection; it gets a `client`."""

    @click.option(
        "--server",
        envvar="AUTOMASK_SERVER",
        show_envvar=True,
        default=DEFAULT_TARGET,
        show_default=True,
        metavar="ADDRESS",
        help="Where it is: host:port, or unix:/path for a socket.",
    )
    @secret_options
    @wraps(command)
    def connect(*, server: str, secrets: Mapping[str, Any], **others: Any) -> Any:  # noqa: ANN401 (the command's own)
        with Client(server, **secrets) as client, _nothing_found():
            return command(client=client, **others)

    return connect


@contextmanager
def _nothing_found() -> Iterator[None]:
    try:
        yield
    except EmptyMaskError as error:
        click.echo(f"automask: error: {error}", err=True)
        sys.exit(3)


def _read_duration(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    try:
        return None if value is None else parse_duration(value, parameter=str(parameter.name))
    except ParameterError as error:
        raise click.BadParameter(str(error), context, parameter) from error


@click.command(no_args_is_help=True)
@click.argument("image")
@click.argument("prompt")
@click.option("--model", default="", metavar="MODEL", help="One of the server's models. [default: its first]")
@mask_options
@click.option("--idempotency-key", metavar="NAME", help="A name of your own: the same again gives the same request.")
@click.option("--deadline", callback=_read_duration, metavar="TIME", help="Fail it if it has not ended by then: 30s.")
@_with_client
def submit(
    *,
    image: str,
    prompt: str,
    model: str,
    exclude: Sequence[str],
    options: Options,
    idempotency_key: str | None,
    deadline: float | None,
    client: Client,
) -> None:
    """Leave a request with a server, and print its id.

    IMAGE is a file or - (standard input). Once the id is there, the request is on the server's disk and survives a
    crash; its result is kept for an hour, unless the server says otherwise.

    \b
    id=$(automask submit room.jpg "sofa" --server 127.0.0.1:50051)
    automask watch $id
    automask result $id -o sofa.png --wait 60s

    Exit status: 0 done, 1 refused, 2 wrong usage.
    """  # noqa: D301 (click takes the character itself as its mark for verbatim lines)
    photo = sys.stdin.buffer.read() if image == STDIO else image
    job = client.submit(
        photo,
        prompt,
        exclude=exclude,
        model=model,
        idempotency_key=idempotency_key,
        deadline=deadline,
        **options,
    )
    click.echo(job.request_id)


@click.command(no_args_is_help=True)
@click.argument("request_id", metavar="ID")
@_JSON
@_with_client
def status(*, request_id: str, as_json: bool, client: Client) -> None:
    """Tell where a request is.

    Exit status: 0 told, 1 not known, 2 wrong usage.
    """
    _tell(client.job(request_id).status(), as_json=as_json)


@click.command(no_args_is_help=True)
@click.argument("request_id", metavar="ID")
@_JSON
@_with_client
def watch(*, request_id: str, as_json: bool, client: Client) -> None:
    """Tell where a request is, at once and at every change, until it has ended.

    Exit status: 0 it was completed, 1 it failed or was cancelled, 2 wrong usage, 3 nothing found.
    """
    for last in client.job(request_id).watch():
        _tell(last, as_json=as_json)
    if last.error is not None:
        sys.exit(3 if isinstance(last.error, EmptyMaskError) else 1)


@click.command(no_args_is_help=True)
@click.argument("request_id", metavar="ID")
@_JSON
@_with_client
def cancel(*, request_id: str, as_json: bool, client: Client) -> None:
    """End a request that has not ended, and tell where it is then.

    Exit status: 0 it has ended, this way or before, 1 not known, 2 wrong usage.
    """
    _tell(client.job(request_id).cancel(), as_json=as_json)


@click.command(no_args_is_help=True)
@click.argument("request_id", metavar="ID")
@click.option("-o", "--output", required=True, metavar="FILE", help="File for the picture, - for standard output.")
@click.option(
    "--wait",
    callback=_read_duration,
    default="0s",
    show_default=True,
    metavar="TIME",
    help="How long to wait for it: 60s, 1h.",
)
@_JSON
@_with_client
def result(*, request_id: str, output: str, wait: float, as_json: bool, client: Client) -> None:
    """Get the picture that a request was left for.

    Of several prompts, each gets a file of its own: with -o out.png, these are out.1.png, out.2.png and so on.

    \b
    automask result 0123456789abcdef0123456789abcdef -o sofa.png --wait 60s

    Exit status: 0 done, 1 failed, cancelled, not ended or not known, 2 wrong usage, 3 nothing found.
    """  # noqa: D301 (click takes the character itself as its mark for verbatim lines)
    if output != STDIO and Path(output).suffix.lower() not in FORMATS:
        raise click.UsageError(f"-o {output}: a picture is written as {' or '.join(FORMATS)}, which lose nothing")
    if output == STDIO and as_json:
        raise click.UsageError("standard output carries the picture here; give -o FILE to use --json")
    answer = client.job(request_id).result(wait)
    results = [answer] if isinstance(answer, Result) else answer
    if output == STDIO:
        if len(results) > 1:
            raise click.UsageError(f"standard output takes one picture, not {len(results)}: give -o FILE")
        sys.stdout.buffer.write(results[0].encode())
        return
    for target, one in zip(_targets(Path(output), len(results)), results, strict=True):
        _write(target, one, as_json=as_json)


def _targets(output: Path, count: int) -> list[Path]:
    if count == 1:
        return [output]
    return [output.with_suffix(f".{number}{output.suffix}") for number in range(1, count + 1)]


def _write(target: Path, one: Result, *, as_json: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    one.save(target)
    click.echo(json.dumps({"output": str(target), **describe(one)}) if as_json else str(target))
    for warning in one.warnings:
        click.echo(f"note: {warning}", err=True)
    click.echo(f"{target}: {summarise(one)}", err=True)


def _tell(told: JobStatus, *, as_json: bool) -> None:
    click.echo(json.dumps(_describe(told)) if as_json else _sentence(told))


def _sentence(told: JobStatus) -> str:
    if told.queue_position is not None:
        return f"{told.state}, {told.queue_position} before it"
    if told.error is None or isinstance(told.error, CancelledError):
        return str(told.state)
    return f"{told.state}: {told.error}"


def _describe(told: JobStatus) -> dict[str, Any]:
    moments = {
        name: moment and moment.isoformat()
        for name in ("created", "started", "ended", "expires")
        for moment in [getattr(told, name)]
    }
    return {
        "request_id": told.request_id,
        "state": told.state,
        "queue_position": told.queue_position,
        "error": told.error and _describe_error(told.error),
        "attempts": told.attempts,
        **moments,
    }


def _describe_error(error: AutomaskError) -> dict[str, str]:
    return {"type": type(error).__name__, "message": str(error)}
