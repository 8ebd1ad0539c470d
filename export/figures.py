"""Measured figures, each with the limit that decides whether an export may be published."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from automask.errors import AutomaskError

__all__ = ["Figure", "ParityError", "check"]


class ParityError(AutomaskError, RuntimeError):
    """A graph does not compute what it was made of."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement.

    Attributes
    ----------
    value, limit
        What was measured, and the worst that is accepted; None where the figure is told and decides nothing.
    at_least
        Whether the limit is a lower one.
    """

    name: str
    value: float
    limit: float | None
    at_least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the value is within the limit; not-a-number never is."""
        if self.limit is None:
            return True
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def said_limit(self) -> str:
        """The limit in words; nothing where the figure decides nothing."""
        return "" if self.limit is None else f"at {'least' if self.at_least else 'most'} {self.limit:g}"


def check(figures: Iterable[Figure]) -> dict[str, float]:
    """Values by name, rounded to four digits.

    Raises
    ------
    ParityError
        A figure is beyond its limit.
    """
    figures = list(figures)
    bad = [f for f in figures if not f.holds]
    if bad:
        said = "; ".join(f"{f.name} must be {f.said_limit}, got {f.value:g}" for f in bad)
        raise ParityError(f"the exported graphs differ from their sources: {said}")
    return {f.name: float(f"{f.value:.4g}") for f in figures}
