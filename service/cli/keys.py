"""`automask keys`: create, list and remove API keys, and set their credits."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from automask.errors import ParameterError

from ..config.durations import format_duration, parse_duration
from ..config.locations import PostgresUrl, parse_location
from ..keys.factory import open_key_store
from ..keys.key import Key
from ..keys.protocol import MAX_CREDITS, KeyStore
from ..keys.rate_limits import Rate
from .callbacks import parse_with

__all__ = ["keys"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _default_location() -> Path:
    base = Path(os.environ.get("XDG_DATA_HOME", ""))
    # The XDG specification says to ignore a relative path.
    return (base if base.is_absolute() else Path.home() / ".local" / "share") / "automask" / "keys.sqlite3"


def _with_location(command: _Command) -> _Command:
    return click.option(
        "--keys",
        "location",
        callback=parse_with(parse_location),
        envvar="AUTOMASK_KEYS",
        show_envvar=True,
        default=_default_location,
        metavar="FILE|URL",
        help="SQLite file or postgresql:// URL of API keys. [default: ~/.local/share/automask/keys.sqlite3]",
    )(command)


@contextmanager
def _open(location: Path | PostgresUrl, *, create: bool = False) -> Iterator[KeyStore]:
    with closing(open_key_store(location, create=create)) as store:
        try:
            yield store
        except ParameterError as error:
            raise click.UsageError(str(error)) from error


@click.group(no_args_is_help=True)
def keys() -> None:
    """Create and remove API keys. A running server uses changes at once.

    \b
    automask keys add camera-7 --rate 10/s            prints the key; it is shown only once
    automask keys add shop --credits 1000 --models default
    automask keys list
    automask keys credits shop +500                   adds 500 credits
    automask keys rotate shop --grace 1h              prints a new secret; the old one works for 1 hour more
    automask keys remove camera-7
    automask serve --keys ~/.local/share/automask/keys.sqlite3
    """  # noqa: D301 (click takes the character itself as its mark for verbatim lines)


@keys.command()
@click.argument("name")
@click.option(
    "--credits",
    "count",
    type=click.IntRange(0, MAX_CREDITS),
    metavar="N",
    help="Number of credits. [default: unlimited]",
)
@click.option(
    "--rate",
    callback=parse_with(Rate.parse),
    metavar="RATE",
    help="Rate limit, such as 10/s, 100/min or 5000/h. [default: unlimited]",
)
@click.option(
    "--models",
    multiple=True,
    metavar="A,B",
    help="Names of allowed models; repeatable. [default: all]",
)
@click.option(
    "--expires",
    callback=parse_with(parse_duration),
    metavar="DURATION",
    help="Time until the key is refused, such as 30d. [default: never]",
)
@_with_location
def add(
    *,
    name: str,
    count: int | None,
    rate: Rate | None,
    models: Sequence[str],
    expires: float | None,
    location: Path | PostgresUrl,
) -> None:
    """Create the key NAME and print it.

    Standard output contains only the key. The store keeps its hash, so the key cannot be shown again.

    \b
    automask keys add camera-7 > camera-7.key
    automask keys add shop --credits 1000 --rate 100/min --models default,clipseg --expires 30d
    """  # noqa: D301 (click takes the character itself as its mark for verbatim lines)
    with _open(location, create=True) as store:
        text = store.add(
            name,
            credits=count,
            rate=rate,
            models=[model.strip() for some in models for model in some.split(",")],
            expires_in=expires,
        )
    click.echo(text)
    click.echo(f"Key {name} created. It is shown only this once; clients send it as x-api-key.", err=True)


@keys.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_with_location
def list_keys(*, as_json: bool, location: Path | PostgresUrl) -> None:
    """List the keys with their limits."""
    with _open(location) as store:
        found = store.list()
    if as_json:
        click.echo(json.dumps([_describe(key) for key in found], indent=2))
        return
    for key in found:
        click.echo(key.name)
        click.echo(f"  credits  {'no limit' if key.credits is None else key.credits}")
        click.echo(f"  rate     {key.rate or 'no limit'}")
        click.echo(f"  models   {', '.join(key.models) or 'all'}")
        click.echo(f"  created  {_local(key.created)}")
        click.echo(f"  expires  {_when(key.expires)}")
        if key.old_secret_until is not None:
            click.echo(f"  rotated  old secret: {_when(key.old_secret_until)}")


def _local(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment).astimezone():%Y-%m-%d %H:%M}"


def _when(expires: float | None) -> str:
    if expires is None:
        return "never"
    return f"{_local(expires)}{' (expired)' if expires <= time.time() else ''}"


def _describe(key: Key) -> dict[str, Any]:
    return {**asdict(key), "rate": key.rate and str(key.rate)}


@keys.command(no_args_is_help=True)
@click.argument("name")
@click.option(
    "--grace",
    callback=parse_with(parse_duration),
    default="0s",
    metavar="DURATION",
    help="Time for which the old secret works as well, such as 1h. [default: 0s]",
)
@click.option(
    "--expires",
    callback=parse_with(parse_duration),
    metavar="DURATION",
    help="Time until the key is refused, such as 30d. [default: unchanged]",
)
@_with_location
def rotate(*, name: str, grace: float, expires: float | None, location: Path | PostgresUrl) -> None:
    """Give the key NAME a new secret and print it.

    Name, credits, rate, models and requests of the key stay. Standard output contains only the new secret.

    \b
    automask keys rotate shop --grace 1h > shop.key   the old secret works for 1 hour more
    automask keys rotate shop --expires 30d           the old secret stops working at once
    """  # noqa: D301 (click takes the character itself as its mark for verbatim lines)
    with _open(location) as store:
        text = store.rotate(name, grace=grace, expires_in=expires)
    click.echo(text)
    until = f"works for {format_duration(grace)} more" if grace else "does not work any more"
    click.echo(f"Key {name} has a new secret, shown only this once. The old one {until}.", err=True)


@keys.command()
@click.argument("name")
@_with_location
def remove(*, name: str, location: Path | PostgresUrl) -> None:
    """Remove the key NAME permanently."""
    with _open(location) as store:
        store.remove(name)
    click.echo(f"Key {name} removed.", err=True)


@keys.command(name="credits", no_args_is_help=True)
@click.argument("name")
@click.argument("count", metavar="N|+N|unlimited")
@_with_location
def set_credits(*, name: str, count: str, location: Path | PostgresUrl) -> None:
    """Set the credits of the key NAME and print the result.

    N sets the number, +N adds to it, unlimited removes the limit.

    \b
    automask keys credits shop 1000
    automask keys credits shop +500
    automask keys credits shop unlimited
    """  # noqa: D301 (click takes the character itself as its mark for verbatim lines)
    number = count.removeprefix("+")
    if count != "unlimited" and not (number.isascii() and number.isdigit()):
        raise click.UsageError(f"N must be a whole number, +N or unlimited, got {count!r}")
    with _open(location) as store:
        if count.startswith("+"):
            count = str(store.top_up(name, int(number)))
        else:
            store.set_credits(name, None if count == "unlimited" else int(number))
    click.echo(count)
