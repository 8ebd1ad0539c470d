"""The timings of one answered task, as metrics and traces read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

__all__ = ["Timings"]


class Timings(Protocol):
    """Where the time of one task went, in milliseconds."""

    @property
    def queue_ms(self) -> float:
        """From acceptance to the start of work."""

    @property
    def inference_ms(self) -> float:
        """The work itself, including encoding the response."""

    @property
    def stages_ms(self) -> Mapping[str, float]:
        """The work by stage."""
