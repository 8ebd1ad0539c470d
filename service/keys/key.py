"""An API key: its name and what it allows."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import NotAllowedError
from .rate_limits import Rate

__all__ = ["Key"]


@dataclass(frozen=True, slots=True)
class Key:
    """What a key may do.

    Parameters
    ----------
    name
        By which people know it.
    credits
        Those left; None where there is no limit.
    rate
        How often it may come; None where there is no limit.
    models
        Those it may use; empty for all.
    created
        Seconds since 1970.
    """

    name: str
    credits: int | None
    rate: Rate | None
    models: tuple[str, ...]
    created: float

    def check_model(self, model: str) -> None:
        """Raise `NotAllowedError` where the key may not use the model."""
        if self.models and model not in self.models:
            raise NotAllowedError(
                f"the key {self.name!r} may not use the model {model!r}, only {', '.join(map(repr, self.models))}"
            )
