"""Measured figures, each with the limit that decides whether a bundle may be published."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from automask.errors import AutomaskError

__all__ = ["Figure", "ParityError", "Report", "check"]


class ParityError(AutomaskError, RuntimeError):
    """An exported graph does not compute the same as its source."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement.

    Attributes
    ----------
    value
        The measured value.
    limit
        The worst accepted value; None if the figure is informative only.
    at_least
        Whether the limit is a lower bound.
    """

    name: str
    value: float
    limit: float | None
    at_least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the value is within the limit; NaN never is."""
        if self.limit is None:
            return True
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def limit_text(self) -> str:
        """The limit in words; empty if there is none."""
        return "" if self.limit is None else f"at {'least' if self.at_least else 'most'} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Report:
    """All measurements of one export.

    Attributes
    ----------
    figures
        Parity and agreement; those with a limit decided.
    criteria
        By precision, the figure that decided, and why.
    sense
        Whether the model masks a person in a photo, in one sentence; empty if it was not asked to.
    """

    figures: list[Figure]
    criteria: Mapping[str, str] = field(default_factory=dict)
    sense: str = ""


def check(figures: Iterable[Figure]) -> dict[str, float]:
    """Return the values by name, rounded to four significant digits.

    Raises
    ------
    ParityError
        A figure is beyond its limit.
    """
    figures = list(figures)
    bad = [f for f in figures if not f.holds]
    if bad:
        found = "; ".join(f"{f.name} must be {f.limit_text}, got {f.value:g}" for f in bad)
        raise ParityError(f"the exported graphs differ from their sources: {found}")
    return {f.name: float(f"{f.value:.4g}") for f in figures}
