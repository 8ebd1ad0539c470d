"""Many servers with one database: what is lost when one of them dies and the database restarts, and what it costs.

`nodes.py` measures, on several `automask serve` with one PostgreSQL and on a Ray cluster of several nodes, all of them
on this machine: throughput over its cores says nothing of clusters, but nothing may get lost on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.turns import Spread, digits, show, table
from harness.workplace import NotHereError, Workplace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SERVERS, CLIENTS = 3, 12
PHOTOS, CACHE_MB = 60, 80
STANDIN_SECONDS = 0.05
CALLS = ("`Generate`", "`Submit`, then `GetResult`")
VERDICT = ("acknowledged", "completed", "doubled", "wrong", "tried again", "fenced")
PHASES = ("before", "during", "after")
TITLES = {"plain": f"{SERVERS} × automask serve", "Ray": f"Ray, {SERVERS} nodes"}


def measure(workplace: Workplace) -> dict[str, Any]:
    """Kill, and compare."""
    try:
        from harness import nodes
    except ImportError as error:
        raise NotHereError(f"it takes the extras postgres and ray, and what the tests need ({error})") from error
    return nodes.measured(workplace)


def markdown(figures: dict[str, Any]) -> str:
    """Lay out what `measure` gave."""
    return "\n".join((_killed(figures["kill"]), _overhead(figures["overhead"]), _throughput(figures), _sticky(figures)))


def _killed(runs: dict[str, Any]) -> str:
    rows = [
        [name, *(f"{run[what]:,}" for what in VERDICT), *map(_phase, PHASES, [run] * 3)] for name, run in runs.items()
    ]
    return (
        f"**A kill run** ({CLIENTS} clients submit and wait; one of {SERVERS} servers or nodes is killed with -9, "
        "another joins, PostgreSQL crashes and comes back)\n\n"
        + table(["", *VERDICT, *(f"{phase}: ms, median; p99" for phase in PHASES)], rows)
        + "\nDoubled are keys with two ids, wrong are masks other than the library's. What the killed one had in hand "
        "is tried again by another once its lease is over (30 s).\n"
    )


def _phase(name: str, run: dict[str, Any]) -> str:
    ms = run["ms"].get(name)
    return f"{digits(ms['median'])}; {digits(ms['p99'])}" if ms else "–"


def _overhead(ms: dict[str, Spread]) -> str:
    places = list(dict.fromkeys(name.partition(": ")[0] for name in ms))
    rows = [[way, *(show(ms[f"{place}: {way}"]) for place in places)] for way in CALLS]
    more = {way: ms[f"{places[-1]}: {way}"]["median"] - ms[f"{places[1]}: {way}"]["median"] for way in CALLS}
    told = " and ".join(f"{digits(one)} ms to {way}" for way, one in more.items())
    return table(["cached photo, ms", *places], rows) + f"\nRay adds {told}, with one replica and one client.\n"


def _throughput(figures: dict[str, Any]) -> str:
    loads = figures["throughput"]
    numbers = list(loads["stand-in"])
    ideal = [digits(int(number) / STANDIN_SECONDS) for number in numbers]
    rows = [
        [
            f"stand-in, {1e3 * STANDIN_SECONDS:g} ms each",
            *(digits(one["per_second"]) for one in loads["stand-in"].values()),
        ],
        ["the most that it could give", *ideal],
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
        + "\nThe stand-in waits and takes no processor, so this is what proxy and API replica let through on two "
        "cores, which cannot show how the embedded model scales.\n"
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
    """Draw how long each request took, by the moment of its answer, and what happened meanwhile."""
    from matplotlib.ticker import LogLocator, NullLocator

    axes = sheet.subplots(1, len(figures["kill"]), squeeze=False)[0]
    for axis, (name, run) in zip(axes, figures["kill"].items(), strict=True):
        dots = [tuple(map(float, point.split(":"))) for point in run["points"].split()]
        axis.plot(*zip(*dots, strict=True), ".", markersize=2, color="#0b6e4f")
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter("{x:,g}")
        for number, (event, second) in enumerate(run["events"].items()):
            axis.axvline(second, color="#b23a48", linewidth=0.8)
            place = (second, 0.98 - 0.06 * number)
            axis.annotate(
                event,
                place,
                (3, 0),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                va="top",
                color="#b23a48",
            )
        axis.set_title(f"{TITLES[name]}: a request, ms", loc="left")
        axis.set_xlabel("seconds")
