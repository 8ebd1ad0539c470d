"""`automask keys`: who may use a server."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from automask.errors import ParameterError

from ..config.locations import PostgresUrl, parse_location
from ..keys.factory import open_key_store
from ..keys.key import Key
from ..keys.protocol import MAX_CREDITS, KeyStore
from ..keys.rate_limits import Rate

__all__ = ["keys"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _default_file() -> Path:
    shared = Path(os.environ.get("XDG_DATA_HOME", ""))
    # The standard says to pass over a relative path.
    return (shared if shared.is_absolute() else Path.home() / ".local" / "share") / "automask" / "keys.sqlite3"


def _read_place(context: click.Context, parameter: click.Parameter, value: str | Path) -> object:
    try:
        return parse_location(value)
    except ParameterError as error:
        raise click.BadParameter(str(error), context, parameter) from error


def _with_file(command: _Command) -> _Command:
    return click.option(
        "--keys",
        "place",
        callback=_read_place,
        envvar="AUTOMASK_KEYS",
        show_envvar=True,
        default=_default_file,
        metavar="FILE|URL",
        help="File or postgresql:// URL of the keys. [default: ~/.local/share/automask/keys.sqlite3]",
    )(command)


@contextmanager
def _opened(place: Path | PostgresUrl, *, create: bool = False) -> Iterator[KeyStore]:
    with closing(open_key_store(place, create=create)) as file:
        try:
            yield file
        except ParameterError as error:
            raise click.UsageError(str(error)) from error


def _read_rate(context: click.Context, parameter: click.Parameter, value: str | None) -> Rate | None:
    try:
        return None if value is None else Rate.parse(value)
    except ParameterError as error:
        raise click.BadParameter(str(error), context, parameter) from error


@click.group(no_args_is_help=True)
def keys() -> None:
    """Give out API keys for a server and take them back; a running server sees it at once.

    \b
    automask keys add camera-7 --rate 10/s            prints the key, once
    automask keys add shop --credits 1000 --models default
    automask keys list
    automask keys credits shop +500                   500 more
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
    help="Credits that it may spend; without, any number.",
)
@click.option(
    "--rate",
    callback=_read_rate,
    metavar="RATE",
    help="How often it may come: 10/s, 100/min, 5000/h; without, at any rate.",
)
@click.option(
    "--models",
    multiple=True,
    metavar="A,B",
    help="Models that it may use, may be given several times; without, all.",
)
@_with_file
def add(*, name: str, count: int | None, rate: Rate | None, models: Sequence[str], place: Path | PostgresUrl) -> None:
    """Make the key NAME and print it.

    The key alone goes to standard output. It is kept as a hash, so it is shown this once and never again.

    \b
    automask keys add camera-7 > camera-7.key
    automask keys add shop --credits 1000 --rate 100/min --models default,clipseg
    """  # noqa: D301 (click takes the character itself as its mark for verbatim lines)
    with _opened(place, create=True) as file:
        text = file.add(
            name,
            credits=count,
            rate=rate,
            models=[model.strip() for some in models for model in some.split(",")],
        )
    click.echo(text)
    click.echo(f"This is the key {name}, shown only this once. Clients send it as x-api-key.", err=True)


@keys.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_with_file
def list_keys(*, as_json: bool, place: Path | PostgresUrl) -> None:
    """Tell what keys there are and what they may do."""
    with _opened(place) as file:
        found = file.list()
    if as_json:
        click.echo(json.dumps([_describe(key) for key in found], indent=2))
        return
    for key in found:
        click.echo(key.name)
        click.echo(f"  credits  {'no limit' if key.credits is None else key.credits}")
        click.echo(f"  rate     {key.rate or 'no limit'}")
        click.echo(f"  models   {', '.join(key.models) or 'all'}")
        click.echo(f"  created  {datetime.fromtimestamp(key.created).astimezone():%Y-%m-%d %H:%M}")


def _describe(key: Key) -> dict[str, Any]:
    return {**asdict(key), "rate": key.rate and str(key.rate)}


@keys.command()
@click.argument("name")
@_with_file
def remove(*, name: str, place: Path | PostgresUrl) -> None:
    """Take the key NAME back for good."""
    with _opened(place) as file:
        file.remove(name)
    click.echo(f"The key {name} is no longer good.", err=True)


@keys.command(name="credits", no_args_is_help=True)
@click.argument("name")
@click.argument("count", metavar="N|+N|unlimited")
@_with_file
def set_credits(*, name: str, count: str, place: Path | PostgresUrl) -> None:
    """Set the credits of the key NAME, and print them.

    N sets them, +N adds to them, and unlimited takes the limit away.

    \b
    automask keys credits shop 1000
    automask keys credits shop +500
    automask keys credits shop unlimited
    """  # noqa: D301 (click takes the character itself as its mark for verbatim lines)
    number = count.removeprefix("+")
    if count != "unlimited" and not (number.isascii() and number.isdigit()):
        raise click.UsageError(f"N must be a whole number, +N or unlimited, got {count!r}")
    with _opened(place) as file:
        if count.startswith("+"):
            count = str(file.top_up(name, int(number)))
        else:
            file.set_credits(name, None if count == "unlimited" else int(number))
    click.echo(count)
