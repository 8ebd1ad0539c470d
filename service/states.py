"""States of a request, and the transitions between them. No I/O.

1. A request starts QUEUED, and is PROCESSING while a worker holds its lease.
2. It ends once, in COMPLETED, FAILED or CANCELLED. A final state never changes.
3. A request that is PROCESSING becomes QUEUED again if its worker releases it or dies. Nothing else goes back.
4. A request can end without having been PROCESSING: its owner cancels it, or its deadline passes.
5. Only the worker that holds the lease can complete a request; its owner can cancel it in any state but a final one.

Rules 1 to 4 are `TRANSITIONS`; rule 5 is kept by the stores, with a fence that grows with each lease.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Final

__all__ = ["FINAL_STATES", "TRANSITIONS", "IllegalTransitionError", "State", "check_transition"]


class State(StrEnum):
    """The state of a request; the value is what the stores write."""

    QUEUED = "QUEUED"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


TRANSITIONS: Final = MappingProxyType(
    {
        State.QUEUED: frozenset({State.PROCESSING, State.FAILED, State.CANCELLED}),
        State.PROCESSING: frozenset({State.COMPLETED, State.FAILED, State.CANCELLED, State.QUEUED}),
        State.COMPLETED: frozenset[State](),
        State.FAILED: frozenset[State](),
        State.CANCELLED: frozenset[State](),
    }
)
"""The states that can follow each state."""

FINAL_STATES: Final = frozenset(state for state, following in TRANSITIONS.items() if not following)
"""The states in which a request has ended."""


class IllegalTransitionError(RuntimeError):
    """A bug: a request was to change to a state that cannot follow its own."""


def check_transition(old: State, new: State) -> State:
    """Check a transition, and return the new state.

    Parameters
    ----------
    old
        The state of the request.
    new
        The state that shall follow.

    Raises
    ------
    IllegalTransitionError
        `new` cannot follow `old`.
    """
    following = TRANSITIONS[old]
    if new not in following:
        allowed = ", ".join(sorted(following)) or "none: it is final"
        raise IllegalTransitionError(f"{new} cannot follow {old}; possible states: {allowed}")
    return new
