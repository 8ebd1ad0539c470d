"""Durations in text form: `30s`, `1h30m`, `500ms`."""

from __future__ import annotations

import re
from fractions import Fraction

from automask.errors import ParameterError

__all__ = ["format_duration", "parse_duration"]

_MICROSECONDS = {"d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000}
_DIGITS = r"[0-9]{1,18}(?:\.[0-9]{1,18})?"
_NUMBER = re.compile(_DIGITS)
_DURATION = re.compile("".join(f"(?:({_DIGITS}){unit})?" for unit in _MICROSECONDS))
_MAX_SECONDS = 10_000 * 86_400  # Python refuses timeouts of some centuries
_REQUIREMENT = "be a duration of at most 10000d such as 30s, 1h30m or 500ms, or a number of seconds"


def parse_duration(duration: str | float, *, parameter: str = "duration") -> float:
    """Parse a duration to seconds.

    Parameters
    ----------
    duration
        Numbers with the units d, h, m, s and ms, largest first; or a number of seconds, also as text.
    parameter
        Name for the error message.

    Returns
    -------
    float
        Seconds, 0 to 864,000,000 (10,000 days).

    Raises
    ------
    ParameterError
        The duration is malformed, negative or too long.

    Examples
    --------
    >>> parse_duration("1h30m"), parse_duration("500ms"), parse_duration(90)
    (5400.0, 0.5, 90.0)
    """
    seconds = _seconds(duration) if isinstance(duration, str) else duration
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float, Fraction)) or not 0 <= seconds <= _MAX_SECONDS:
        raise ParameterError(parameter, _REQUIREMENT, duration)
    return float(seconds)


def _seconds(text: str) -> Fraction | None:
    """Return exact seconds, so that a sum of parts is rounded only once; None if malformed."""
    if _NUMBER.fullmatch(text):
        return Fraction(text)
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        return None
    parts = zip(match.groups(), _MICROSECONDS.values(), strict=True)
    return sum((Fraction(number) * size for number, size in parts if number), Fraction()) / 1_000_000


def format_duration(seconds: float) -> str:
    """Format seconds for `parse_duration`, rounded to a microsecond.

    Parameters
    ----------
    seconds
        Finite, 0 or more.

    Examples
    --------
    >>> format_duration(5400), format_duration(0.5), format_duration(61.25), format_duration(0)
    ('1h30m', '500ms', '1m1s250ms', '0s')
    """
    left = round(seconds * 1_000_000)
    parts = []
    for unit, size in _MICROSECONDS.items():
        count = left / size if unit == "ms" else left // size
        left %= size
        if count:
            parts.append(f"{count:g}{unit}" if unit == "ms" else f"{count}{unit}")
    return "".join(parts) or "0s"
