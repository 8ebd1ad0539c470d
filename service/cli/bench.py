"""`automask bench hosted`: the hosted API beside a server of one's own."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from automask import Parameters
from automask.images import read_image

from ..bench.hosted import PUBLISHED, Caller, alternate, iou, montage, unlike
from ..errors import UnavailableError

__all__ = ["bench"]

_VENDOR = "https://api.segmind.com/v1"
_WAYS = ("sync", "async")
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(no_args_is_help=True)
def bench() -> None:
    """Measure a server beside what it stands in for."""


@bench.command(no_args_is_help=True)
@click.option(
    "--image",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Photo to mask: JPEG or PNG.",
)
@click.option("--prompt", required=True, help="What to mask in it.")
@click.option("--n", "rounds", type=click.IntRange(1), default=20, show_default=True, help="Calls of each kind.")
@click.option(
    "--server", default="http://127.0.0.1:8080/v1", show_default=True, metavar="URL", help="A server of your own."
)
@click.option("--api-key", envvar="AUTOMASK_API_KEY", show_envvar=True, metavar="KEY", help="Its key, if it wants one.")
@click.option("--hosted-url", default=_VENDOR, show_default=True, metavar="URL", help="The hosted API.")
@click.option("--json", "report", type=_FILE, help="Write everything measured to this file.")
@click.option("--picture", type=_FILE, help="Write photo and both masks side by side to this file (PNG).")
@click.option("--yes", is_flag=True, help="Make the paid calls without asking.")
@click.pass_context
def hosted(
    context: click.Context,
    *,
    image: Path,
    prompt: str,
    rounds: int,
    server: str,
    api_key: str | None,
    hosted_url: str,
    report: Path | None,
    picture: Path | None,
    yes: bool,
) -> None:
    """Ask the hosted API and your own server for the same masks, and compare.

    The calls to the hosted API cost money: how many there will be, and about what they cost, is said first. They go
    through the vendor's own client (pip install segmind), with the key in SEGMIND_API_KEY. Each server is called in
    both ways, blocking and by polling every 0.05 s; every call brings a file that is new, so that no cache answers.

    \b
    automask serve --http-port 8080
    automask bench hosted --image room.jpg --prompt "sofa" --json hosted.json --picture hosted.png

    Where a server stops answering half way, what was measured until then is reported all the same.

    Exit status: 0 done, 1 refused or failed, 2 wrong usage.
    """  # noqa: D301 (click takes the character itself as its mark for verbatim lines)
    photo = image.read_bytes()
    next(unlike(photo))  # whatever is wrong with it shall be said before the question
    read_image(photo)
    # The client would take the vendor's key from the environment, and hand it to whatever server this is.
    with (
        closing(Caller("your server", server, api_key or "none")) as local,
        closing(Caller("the hosted API", hosted_url, _vendor_key(context))) as vendor,
    ):
        _confirm(context, rounds, hosted_url, yes=yes)
        masks, problem = _measure(local, vendor, photo, prompt, rounds)
    agreement = [iou(read_image(mine), read_image(theirs)) for mine, theirs in masks]
    found = {
        "image": image.name,
        "prompt": prompt,
        "rounds": len(masks),
        "stopped_by": problem and str(problem),
        "parameters": asdict(Parameters()),
        "hosted": vendor.summary(),
        "local": local.summary(),
        "mask_iou": {"least": min(agreement), "mean": sum(agreement) / len(masks)},
        "published_by_the_vendor": {**PUBLISHED, "note": "from its page, not measured here"},
    }
    if report is not None:
        report.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if picture is not None:
        mine, theirs = masks[-1]
        montage({"photo": photo, "hosted": theirs, "local": mine}).save(picture, "PNG")
    _tell(found)
    if problem is not None:
        raise problem


def _vendor_key(context: click.Context) -> str:
    key = os.environ.get("SEGMIND_API_KEY")
    if not key:
        raise click.UsageError("SEGMIND_API_KEY must hold your key of the hosted API, and is not set", context)
    return key


def _confirm(context: click.Context, rounds: int, url: str, *, yes: bool) -> None:
    """Say what it costs, and let nobody pay unasked."""
    calls = len(_WAYS) * rounds
    cost = calls * PUBLISHED["cost_usd"]
    click.echo(
        f"{calls} paid calls to {url}: about ${cost:.3f}, at the ${PUBLISHED['cost_usd']} a call that the vendor "
        "publishes.",
        err=True,
    )
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("nobody is there to be asked: give --yes to make the paid calls", context)
    click.confirm("Make them?", abort=True, err=True)


def _measure(
    local: Caller, vendor: Caller, photo: bytes, prompt: str, rounds: int
) -> tuple[list[list[bytes]], UnavailableError | None]:
    """Ask both, one's own first: where it does not answer, nothing has been paid.

    What was paid for before a server stopped answering is not thrown away: it comes with the error.
    """
    masks: list[list[bytes]] = []
    with click.progressbar(
        alternate((local, vendor), photo, prompt, rounds), length=rounds, label="asking both", file=sys.stderr
    ) as progress:
        try:
            masks.extend(progress)
        except UnavailableError as error:
            if not masks:
                raise
            return masks, error
    return masks, None


def _tell(found: Mapping[str, Any]) -> None:
    row = "{:<8}{:<7}{:>10}{:>10}{:>12}{:>13}{:>14}".format
    click.echo(row("", "", "p50, ms", "p95, ms", "server, ms", "network, ms", "cost of 1000"))
    for who in ("hosted", "local"):
        for way in _WAYS:
            one = found[who][way]
            latency, server, network = one["latency_ms"], one["server_ms"], one["network_ms"]
            numbers = (latency["p50"], latency["p95"], server and server["p50"], network and network["p50"])
            click.echo(row(who, way, *("–" if number is None else f"{number:.1f}" for number in numbers), _cost(one)))
    agreement = found["mask_iou"]
    click.echo(f"The masks agree with an IoU of {agreement['mean']:.3f} on average, {agreement['least']:.3f} at least.")
    click.echo(
        f"The vendor publishes {PUBLISHED['latency_s']} s and ${PUBLISHED['cost_usd']} a call; "
        "those two were not measured here."
    )


def _cost(one: Mapping[str, Any]) -> str:
    return "–" if one["cost_per_1000"] is None else f"{one['cost_per_1000']:g}"
