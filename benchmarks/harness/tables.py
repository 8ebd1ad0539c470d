"""Markdown tables, and the format of the figures in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .timing import Spread


def format_spread(ms: Spread) -> str:
    """Format median and quartiles with three digits each: `171 (168–175)`."""
    if ms["n"] == 1:
        return digits(ms["median"])
    return f"{digits(ms['median'])} ({digits(ms['q1'])}–{digits(ms['q3'])})"


def digits(figure: float) -> str:
    """Format a figure with three digits, without an exponent."""
    if abs(figure) >= 100:
        return f"{figure:,.0f}"
    return f"{figure:.1f}" if abs(figure) >= 10 else f"{figure:.2f}"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Format a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def with_target(measured: float, aim: float, *, at_least: bool) -> str:
    """Format a figure beside its target, and mark a missed target: `4.90 (≥ 5, missed)`."""
    met = measured >= aim if at_least else measured <= aim
    sign = "≥" if at_least else "≤"
    return f"{digits(measured)} ({sign} {aim:g}{'' if met else ', missed'})"
