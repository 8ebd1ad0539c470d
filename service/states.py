"""The states of a request, and which may follow which. No input or output here."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Final

__all__ = ["ENDS", "TRANSITIONS", "IllegalMoveError", "State", "move"]


class State(StrEnum):
    """Where a request is; the value is what the store keeps."""

    QUEUED = "QUEUED"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


TRANSITIONS: Final = MappingProxyType(
    {
        # FAILED: the deadline passed before its turn came.
        State.QUEUED: frozenset({State.PROCESSING, State.FAILED, State.CANCELLED}),
        # QUEUED: whoever worked on it died, or gave it back.
        State.PROCESSING: frozenset({State.COMPLETED, State.FAILED, State.CANCELLED, State.QUEUED}),
        State.COMPLETED: frozenset[State](),
        State.FAILED: frozenset[State](),
        State.CANCELLED: frozenset[State](),
    }
)
"""What may follow each state."""

ENDS: Final = frozenset(state for state, following in TRANSITIONS.items() if not following)
"""The states that nothing follows."""


class IllegalMoveError(RuntimeError):
    """A bug: a request was to go where it cannot go from its state."""


def move(old: State, new: State) -> State:
    """Check a move.

    Parameters
    ----------
    old
        The state that the request is in.
    new
        The state that it shall take.

    Returns
    -------
    `new`.

    Raises
    ------
    IllegalMoveError
        `new` cannot follow `old`.
    """
    following = TRANSITIONS[old]
    if new not in following:
        allowed = ", ".join(sorted(following)) or "nothing: it is an end"
        raise IllegalMoveError(f"{new} cannot follow {old}; what can is {allowed}")
    return new
