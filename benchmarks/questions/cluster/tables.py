"""The tables and the picture of the question `cluster`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.drawing import GREEN, RED, use_log_scale
from harness.tables import digits, format_spread, table
from harness.timing import Spread

from .setup import CACHE_MB, CALLS, CLIENTS, PHOTOS, SERVERS, STAND_IN_SECONDS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COUNTS = ("acknowledged", "completed", "doubled", "wrong", "tried again", "fenced")
PHASES = ("before", "during", "after")
TITLES = {"plain": f"{SERVERS} × automask serve", "Ray": f"Ray, {SERVERS} nodes"}


def markdown(figures: dict[str, Any]) -> str:
    """Format the figures that `measure` returned."""
    parts = (_kill_runs, _overhead, _throughput, _sticky)
    return "\n".join(part(figures) for part in parts)


def _kill_runs(figures: dict[str, Any]) -> str:
    runs = figures["kill"]
    rows = [
        [title, *(f"{run[name]:,}" for name in COUNTS), *map(_phase, PHASES, [run] * 3)] for title, run in runs.items()
    ]
    return (
        f"**A kill run** ({CLIENTS} clients submit and wait; one of {SERVERS} servers or nodes is killed with -9, "
        "another joins, PostgreSQL crashes and restarts)\n\n"
        + table(["", *COUNTS, *(f"{phase}: ms, median; p99" for phase in PHASES)], rows)
        + "\nDoubled are keys with two ids, wrong are masks other than the library's. Requests that the killed "
        "server had leased are tried again by another once the lease ends (30 s).\n"
    )


def _phase(name: str, run: dict[str, Any]) -> str:
    ms = run["ms"].get(name)
    return f"{digits(ms['median'])}; {digits(ms['p99'])}" if ms else "–"


def _overhead(figures: dict[str, Any]) -> str:
    ms: dict[str, Spread] = figures["overhead"]
    engines = list(dict.fromkeys(name.partition(": ")[0] for name in ms))
    rows = [[way, *(format_spread(ms[f"{engine}: {way}"]) for engine in engines)] for way in CALLS]
    more = {way: ms[f"{engines[-1]}: {way}"]["median"] - ms[f"{engines[1]}: {way}"]["median"] for way in CALLS}
    added = " and ".join(f"{digits(one)} ms to {way}" for way, one in more.items())
    return table(["cached photo, ms", *engines], rows) + f"\nRay adds {added}, with one replica and one client.\n"


def _throughput(figures: dict[str, Any]) -> str:
    loads = figures["throughput"]
    numbers = list(loads["stand-in"])
    ideal = [digits(int(number) / STAND_IN_SECONDS) for number in numbers]
    rows = [
        [
            f"stand-in, {1e3 * STAND_IN_SECONDS:g} ms each",
            *(digits(one["per_second"]) for one in loads["stand-in"].values()),
        ],
        ["upper limit of the stand-in", *ideal],
        [
            "embedded",
            *(
                digits(loads["embedded"][number]["per_second"]) if number in loads["embedded"] else "–"
                for number in numbers
            ),
        ],
    ]
    return (
        table(["calls/s, replicas on Ray", *numbers], rows)
        + "\nThe stand-in waits and needs no processor, so its row shows what proxy and API replica let through "
        "on two cores. How the embedded model scales, two cores cannot show.\n"
    )


def _sticky(figures: dict[str, Any]) -> str:
    rows = [
        [name, f"{one['hits']:.0%}", digits(one["per_second"]), digits(one["median"])]
        for name, one in figures["sticky"].items()
    ]
    head = [
        f"{PHOTOS} photos by popularity, {SERVERS} replicas that hold {CACHE_MB} MB each",
        "cached",
        "calls/s",
        "ms",
    ]
    return table(head, rows)


def draw(sheet: Figure, figures: dict[str, Any]) -> None:
    """Draw the milliseconds of each request by the second of its completion, and mark the events of the kill run."""
    axes = sheet.subplots(1, len(figures["kill"]), squeeze=False)[0]
    for axis, (name, run) in zip(axes, figures["kill"].items(), strict=True):
        dots = [tuple(map(float, point.split(":"))) for point in run["points"].split()]
        axis.plot(*zip(*dots, strict=True), ".", markersize=2, color=GREEN)
        use_log_scale(axis)
        for number, (event, second) in enumerate(run["events"].items()):
            axis.axvline(second, color=RED, linewidth=0.8)
            axis.annotate(
                event,
                (second, 0.98 - 0.06 * number),
                (3, 0),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                va="top",
                color=RED,
            )
        axis.set_title(f"{TITLES[name]}: a request, ms", loc="left")
        axis.set_xlabel("seconds")
