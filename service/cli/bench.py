"""`automask bench hosted`: compare a server with the hosted API."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from automask.images import read_image
from automask.parameters import hosted_defaults

from ..bench.clients import TimedClient
from ..bench.comparison import PUBLISHED, alternate, data_uris, iou, side_by_side
from ..errors import UnavailableError

__all__ = ["bench"]

_HOSTED_URL = "https://api.segmind.com/v1"
_WAYS = ("sync", "async")
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(no_args_is_help=True)
def bench() -> None:
    """Compare a server with the hosted API that it replaces."""


@bench.command(no_args_is_help=True)
@click.option(
    "--image",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Photo to mask, JPEG or PNG.",
)
@click.option("--prompt", required=True, help="What to mask.")
@click.option("--n", "rounds", type=click.IntRange(1), default=20, show_default=True, help="Calls of each kind.")
@click.option(
    "--server", default="http://127.0.0.1:8080/v1", show_default=True, metavar="URL", help="URL of your server."
)
@click.option(
    "--api-key",
    envvar="AUTOMASK_API_KEY",
    show_envvar=True,
    metavar="KEY",
    help="Its API key, if required.",
)
@click.option("--hosted-url", default=_HOSTED_URL, show_default=True, metavar="URL", help="URL of the hosted API.")
@click.option("--json", "report_file", type=_FILE, help="Write all measurements to this file.")
@click.option("--picture", type=_FILE, help="Write photo and both masks side by side to this PNG file.")
@click.option("--yes", is_flag=True, help="Make the paid calls without confirmation.")
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
    report_file: Path | None,
    picture: Path | None,
    yes: bool,
) -> None:
    """Request the same masks from the hosted API and from your server, and compare.

    Calls to the hosted API cost money; their number and approximate cost are printed first. They use the vendor's own
    client (pip install segmind) and the API key in SEGMIND_API_KEY. Each server is called synchronously, and
    asynchronously with a poll every 0.05 s. Every call sends a different file, so that no cache answers it.

    \b
    automask serve --http-port 8080
    automask bench hosted --image room.jpg --prompt "sofa" --json hosted.json --picture hosted.png

    If a server fails halfway, the measurements until then are still reported.

    Exit status: 0 done, 1 rejected or failed, 2 wrong usage.
    """  # noqa: D301 (click takes the character itself as its mark for verbatim lines)
    photo = image.read_bytes()
    next(data_uris(photo))  # report a wrong photo before asking for confirmation
    read_image(photo)
    # Without a key, the client would send the vendor's key from the environment to this server.
    with (
        closing(TimedClient("your server", server, api_key or "none")) as local,
        closing(TimedClient("the hosted API", hosted_url, _vendor_key(context))) as vendor,
    ):
        _confirm(context, rounds, hosted_url, yes=yes)
        masks, problem = _measure(local, vendor, photo, prompt, rounds)
    agreement = [iou(read_image(mine), read_image(theirs)) for mine, theirs in masks]
    report = {
        "image": image.name,
        "prompt": prompt,
        "rounds": len(masks),
        "stopped_by": problem and str(problem),
        "parameters": hosted_defaults(),
        "hosted": vendor.summary(),
        "local": local.summary(),
        "mask_iou": {"least": min(agreement), "mean": sum(agreement) / len(masks)},
        "published_by_the_vendor": {**PUBLISHED, "note": "from its page, not measured here"},
    }
    if report_file is not None:
        report_file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if picture is not None:
        mine, theirs = masks[-1]
        side_by_side({"photo": photo, "hosted": theirs, "local": mine}).save(picture, "PNG")
    _print_report(report)
    if problem is not None:
        raise problem


def _vendor_key(context: click.Context) -> str:
    key = os.environ.get("SEGMIND_API_KEY")
    if not key:
        raise click.UsageError("SEGMIND_API_KEY must contain your API key for the hosted API, but is not set", context)
    return key


def _confirm(context: click.Context, rounds: int, url: str, *, yes: bool) -> None:
    """Print the cost and ask for confirmation."""
    calls = len(_WAYS) * rounds
    cost = calls * PUBLISHED["cost_usd"]
    click.echo(
        f"{calls} paid calls to {url}: about ${cost:.3f}, at the vendor's published ${PUBLISHED['cost_usd']} per call.",
        err=True,
    )
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("no terminal to confirm the paid calls: use --yes", context)
    click.confirm("Continue?", abort=True, err=True)


def _measure(
    local: TimedClient, vendor: TimedClient, photo: bytes, prompt: str, rounds: int
) -> tuple[list[list[bytes]], UnavailableError | None]:
    """Call both servers, the local one first, so that nothing is paid if it does not respond.

    If a server fails later, return the masks of the rounds before, which were paid for, and the error.
    """
    masks: list[list[bytes]] = []
    with click.progressbar(
        alternate((local, vendor), photo, prompt, rounds), length=rounds, label="calling both", file=sys.stderr
    ) as progress:
        try:
            masks.extend(progress)
        except UnavailableError as error:
            if not masks:
                raise
            return masks, error
    return masks, None


def _print_report(report: Mapping[str, Any]) -> None:
    row = "{:<8}{:<7}{:>10}{:>10}{:>12}{:>13}{:>14}".format
    click.echo(row("", "", "p50, ms", "p95, ms", "server, ms", "network, ms", "cost of 1000"))
    for who in ("hosted", "local"):
        for way in _WAYS:
            one = report[who][way]
            latency, server, network = one["latency_ms"], one["server_ms"], one["network_ms"]
            numbers = (latency["p50"], latency["p95"], server and server["p50"], network and network["p50"])
            click.echo(row(who, way, *("–" if number is None else f"{number:.1f}" for number in numbers), _cost(one)))
    agreement = report["mask_iou"]
    click.echo(f"IoU of the masks: {agreement['mean']:.3f} on average, {agreement['least']:.3f} at least.")
    click.echo(
        f"Published by the vendor, not measured: {PUBLISHED['latency_s']} s and ${PUBLISHED['cost_usd']} per call."
    )


def _cost(one: Mapping[str, Any]) -> str:
    return "–" if one["cost_per_1000"] is None else f"{one['cost_per_1000']:g}"
