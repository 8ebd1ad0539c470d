"""The question `cluster`: what several servers with one database lose when a machine or the database fails, and cost.

Measured on several `automask serve` with one PostgreSQL, and on a Ray cluster of several nodes. All of them run on this
machine, so the throughput says little about real clusters; but nothing may be lost here either.
"""

from __future__ import annotations

from typing import Any

from harness.options import RunOptions, requires

from .tables import draw, markdown

__all__ = ["draw", "markdown", "measure"]


def measure(options: RunOptions) -> dict[str, Any]:
    """Run the kill runs, then measure overhead, throughput and cache hits.

    Raises
    ------
    MissingRequirementError
        Ray or PostgreSQL is not installed.
    """
    with requires("the extras postgres, ray and dev"):
        from .measurements import measure
    return measure(options)
