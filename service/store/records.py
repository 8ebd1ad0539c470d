"""What the request store returns: records, leases, the result of a sweep, usage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from automask.errors import AutomaskError

from ..states import State

__all__ = ["SELECT_RECORD", "Lease", "Record", "SweepResult", "Usage"]

SELECT_RECORD: Final = """
SELECT id, owner, model, state, CASE state WHEN 'QUEUED' THEN (
    SELECT count(*) FROM requests AS before WHERE before.state = 'QUEUED' AND before.position < requests.position
) END, attempts, created, started, ended, expires, error, NULL FROM requests
"""
"""Selects the fields of a `Record`, in SQLite and in PostgreSQL."""


@dataclass(frozen=True, slots=True)
class Record:
    """A request, without its task.

    Attributes
    ----------
    request_id
        Id of the request.
    owner
        Name of the key that submitted it; other keys cannot see it.
    model
        Name of the model that works on it.
    state
        Its state.
    queue_position
        Number of requests before it, 0 for the next; None unless it is QUEUED.
    attempts
        How often a worker has started on it.
    created, started, ended, expires
        When it was accepted, when a worker last started on it, when it ended, when it is deleted: seconds since the
        epoch; None if that has not happened.
    error
        Why it FAILED, encoded by `StorePolicy.encode_error`.
    result
        Its result; only `Store.result` fills it in.
    """

    request_id: str
    owner: str
    model: str
    state: State
    queue_position: int | None
    attempts: int
    created: float
    started: float | None
    ended: float | None
    expires: float | None
    error: bytes | None
    result: bytes | None

    @classmethod
    def from_row(cls, row: tuple[Any, ...]) -> Record:
        """Convert a row of `SELECT_RECORD`."""
        return cls(*(*row[:3], State(row[3]), *row[4:]))


@dataclass(frozen=True, slots=True)
class Lease:
    """A request that a worker holds.

    Attributes
    ----------
    request_id, owner, model, attempts, created, started
        As in `Record`.
    deadline
        Seconds since the epoch, by the store's clock, until which it must end; None for no deadline.
    fence
        Grows with each lease of the request: updates under an older lease are refused.
    task
        The task, as it was added.
    is_large
        Whether its image is large.
    problem
        Why the task cannot be read, in which case it is empty; otherwise None.
    """

    request_id: str
    owner: str
    model: str
    attempts: int
    created: float
    started: float
    deadline: float | None
    fence: int
    task: bytes
    is_large: bool = False
    problem: AutomaskError | None = None


@dataclass(frozen=True, slots=True)
class SweepResult:
    """The requests that a sweep changed, by their ids.

    Attributes
    ----------
    late
        FAILED, because their deadline has passed; with their owners.
    requeued
        QUEUED again, because their lease was not renewed.
    given_up
        FAILED, because their lease was not renewed at the last attempt; with their owners.
    expired
        Deleted: they ended longer ago than the retention.
    """

    late: Mapping[str, str]
    requeued: tuple[str, ...]
    given_up: Mapping[str, str]
    expired: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """How full the store is.

    Attributes
    ----------
    counts
        Number of requests in each state.
    size
        Bytes in use: in SQLite, of the file and its log; in PostgreSQL, of tasks and results.
    """

    counts: Mapping[State, int]
    size: int

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[str, int]], size: int) -> Usage:
        """Build the usage from the counts of the states that occur."""
        counts = dict(rows)
        return cls({state: counts.get(state, 0) for state in State}, size)
