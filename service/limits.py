"""Limits that both server and client apply."""

from __future__ import annotations

from typing import Final

__all__ = ["MAX_RESULT_WAIT"]

MAX_RESULT_WAIT: Final = 60.0
"""Seconds that one GetResult may wait for the end of its request."""
