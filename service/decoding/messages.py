"""What the server and its decoding processes send each other: fixed headers, then bytes."""

from __future__ import annotations

from struct import Struct

__all__ = [
    "LEAST_SHARED",
    "MOST_SHARED",
    "NO_SHORTEST",
    "PIXELS",
    "READY",
    "REFUSED",
    "REQUEST",
    "RESPONSE",
    "UNEXPECTED",
    "WALL_FACTOR",
]

REQUEST = Struct("<QqQ")
"""Bytes of the file that follows, the shortest side (`NO_SHORTEST` for all pixels), the most pixels."""
NO_SHORTEST = -1

RESPONSE = Struct("<B4QI")
"""What it is, height and width of the pixels, full height and width, bytes of the text that follows."""
READY, PIXELS, REFUSED, UNEXPECTED = range(4)

WALL_FACTOR = 4
"""Limit on the seconds by the clock for one file, as a multiple of the limit on its processor time."""

LEAST_SHARED, MOST_SHARED = 4_000_000, 32_000_000
"""Bytes of the memory for pixels that a process shares with the server, and keeps. A larger image has its own."""
