"""The tables and the picture of the question `capacity`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.capacity_plan import HOSTED_PER_CALL, fewest_servers, plan_table
from harness.drawing import GREEN, GREY, RED
from harness.queueing import Queue, Work
from harness.tables import digits, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PRICE = 0.085
"""Dollars an hour of two threads at a large provider, as an example."""
RATES = (1, 10, 100, 1_000, 100_000)
TRANSACTIONS = 3
"""Transactions of a submitted request: it is added, leased and completed."""


def markdown(figures: dict[str, Any]) -> str:
    """Format the figures that `measure` returned."""
    parts = (_passes, _loads, _plans, _limits, _model_errors, _routes, _caches)
    return "\n".join(part(figures) for part in parts)


def _passes(figures: dict[str, Any]) -> str:
    rows = [
        [f"{name}, {kind} photo", *(digits(1e3 * seconds) for seconds in one["by_prompts"].values()), _line(one)]
        for name, setup in figures["setups"].items()
        for kind, one in ((kind, setup[kind]) for kind in ("new", "cached"))
    ]
    first = next(iter(figures["setups"].values()))
    columns = ["a pass alone, ms, by prompts", *first["new"]["by_prompts"], "fitted, ms"]
    rest = " and ".join(digits(1e3 * setup["call"]) for setup in figures["setups"].values())
    work = Work.measured(first)
    return (
        table(columns, rows) + f"\nBesides the pass a call takes {rest} ms. Passes of 16 prompts give "
        f"{digits(work.new.gain(16))} times as many masks a second from a new photo, {digits(work.cached.gain(16))} "
        "times as many from a cached one.\n"
    )


def _line(one: dict[str, Any]) -> str:
    return f"{digits(1e3 * one['fixed'])} + {digits(1e3 * one['each'])} × prompts"


def _ms(one: dict[str, float]) -> str:
    return " / ".join(digits(1e3 * one[name]) for name in ("wait", "p50", "p95"))


def _loads(figures: dict[str, Any]) -> str:
    kinds = ("model", "simulation", "measured", "model of those passes")
    rows = [
        [f"{name}, {digits(point['rate'])}", f"{point['busy']:.0%}", *(_ms(point[kind]) for kind in kinds)]
        for name, setup in figures["setups"].items()
        for point in setup["points"]
    ]
    errors = sum(point["measured"]["errors"] for setup in figures["setups"].values() for point in setup["points"])
    return (
        table(["ms: mean wait / p50 / p95; calls/s", "busy", *kinds], rows)
        + f"\nEvery second photo is new; {errors:.0f} errors. The last column is the model with the mean pass that the "
        "server measured under this load.\n"
    )


def _plans(figures: dict[str, Any]) -> str:
    setup = next(iter(figures["setups"].values()))
    queues = [fewest_servers(rate, Work.measured(setup, hits=hits)) for hits in (0.0, 0.9) for rate in RATES]
    return plan_table(queues, PRICE) + f"\nAt ${PRICE} an hour; the hosted API: ${1e6 * HOSTED_PER_CALL:,.0f}.\n"


def _limits(figures: dict[str, Any]) -> str:
    """Format what else grows with the rate, besides the number of servers."""
    setup, photo_bytes = next(iter(figures["setups"].values())), figures["photo_bytes"]
    work = Work.measured(setup, hits=figures["hits"])
    rows = [
        [
            f"{rate:,}",
            f"{rate * photo_bytes / 1e6:,.0f} MB/s",
            f"{rate * TRANSACTIONS:,}",
            digits(rate * work.call),
            f"{fewest_servers(rate, work).servers:,}",
            f"{fewest_servers(rate, work.sped_up(20)).servers:,}",
        ]
        for rate in (10, 1_000, 100_000)
    ]
    columns = [
        "requests/s",
        "photos in",
        "transactions/s, if submitted",
        "cores for calls",
        "servers as measured",
        "servers 20 times as fast",
    ]
    return table(columns, rows)


def _model_errors(figures: dict[str, Any]) -> str:
    rows = []
    for servers in dict.fromkeys(one["servers"] for one in figures["checked"]):
        own = [one for one in figures["checked"] if one["servers"] == servers]
        rows += [[f"{servers}: {name}", *(_error(one, name) for one in own)] for name in ("wait", "p95")]
    utilisations = dict.fromkeys(one["busy"] for one in figures["checked"])
    return table(["model against simulation", *(f"{busy:.0%}" for busy in utilisations)], rows)


def _error(one: dict[str, Any], name: str) -> str:
    predicted, simulated = one["model"][name], one["simulation"][name]
    if name == "wait" and simulated < 1e-4:
        return "under 0.1 ms"
    spread = f" ± {2 * one['simulation']['error']:.1%}" if name == "wait" else ""
    return f"{predicted / simulated - 1:+.1%}{spread}"


def _routes(figures: dict[str, Any]) -> str:
    rows = [
        [route, *(_ms(one) for one in figures["routed"] if one["route"] == route)]
        for route in dict.fromkeys(one["route"] for one in figures["routed"])
    ]
    return table(["8 replicas, simulated; ms: mean wait / p50 / p95", "50%", "70%", "90%"], rows)


def _caches(figures: dict[str, Any]) -> str:
    numbers = dict.fromkeys(one["servers"] for one in figures["sticky"])
    rows = [
        [
            f"{route}, passes of up to {most}" if most > 1 else route,
            *(
                f"{one['hits']:.0%}; {digits(1e3 * one['p95'])}"
                for one in figures["sticky"]
                if (one["route"], one["max_batch"]) == (route, most)
            ),
        ]
        for route, most in dict.fromkeys((one["route"], one["max_batch"]) for one in figures["sticky"])
    ]
    return table(["simulated: passes on a cached photo; p95, ms", *(f"{number} replicas" for number in numbers)], rows)


def draw(sheet: Figure, figures: dict[str, Any]) -> None:
    """Draw latency by rate for each server, and the difference between model and simulation."""
    axes = sheet.subplots(1, 3)
    for axis, (name, setup) in zip(axes, figures["setups"].items(), strict=False):
        _draw_latency(axis, setup, figures["hits"])
        axis.set_title(f"{name}: latency, ms", loc="left")
    for servers in dict.fromkeys(one["servers"] for one in figures["checked"]):
        own = [one for one in figures["checked"] if one["servers"] == servers]
        errors = [100 * (one["model"]["p95"] / one["simulation"]["p95"] - 1) for one in own]
        axes[2].plot([100 * one["busy"] for one in own], errors, "o-", label=f"{servers} server{'s' * (servers > 1)}")
    axes[2].axhline(0, color=GREY, linewidth=0.8)
    axes[2].set_title("p95: model against simulation, %", loc="left")
    axes[2].set_xlabel("utilisation, %")
    axes[2].legend(frameon=False)


def _draw_latency(axis: Axes, setup: dict[str, Any], hits: float) -> None:
    work = Work.measured(setup, hits=hits)
    most = 0.92 * setup["workers"] / work.mean
    rates = [most * number / 40 for number in range(1, 41)]
    for quantile, colour in ((0.5, GREEN), (0.95, RED)):
        latencies = [1e3 * Queue(rate, work, setup["workers"]).latency(quantile) for rate in rates]
        axis.plot(rates, latencies, color=colour, label=f"p{quantile * 100:.0f}: model")
        for kind, mark in (("simulation", "x"), ("measured", "o")):
            points = [(point["rate"], 1e3 * point[kind][f"p{quantile * 100:.0f}"]) for point in setup["points"]]
            axis.plot(*zip(*points, strict=True), mark, color=colour, label=f"p{quantile * 100:.0f}: {kind}")
    axis.set_xlabel("calls/s, every second photo new")
    axis.legend(frameon=False)
