"""What the request store tells about its requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from automask.errors import AutomaskError

from ..states import State

__all__ = ["Lease", "Record", "SweepResult", "Usage"]


@dataclass(frozen=True, slots=True)
class Record:
    """What is known about a request, without its task.

    Attributes
    ----------
    request_id
        What it is asked for by.
    owner
        Who left it; nobody else sees it.
    model
        Name of the model that shall work on it.
    state
        Where it is.
    queue_position
        Requests before it, 0 for the next; None unless it is QUEUED.
    attempts
        How often work on it has begun.
    created, started, ended, expires
        When it was accepted, when work on it last began, when it ended, when it is forgotten: seconds since the
        epoch; None before.
    result
        What came out; only `Store.result` fills it in.
    error
        Why it FAILED, as `encode_error` of the store put it.
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


@dataclass(frozen=True, slots=True)
class Lease:
    """A request that was given out to be worked on.

    Attributes
    ----------
    request_id, owner, model, attempts, created, started
        As in `Record`.
    task
        What to do, as it was added.
    problem
        Why the task cannot be had any more, which then is empty; None where it can.
    deadline
        Seconds since the epoch, by the store's clock, until when it must be done; None for no limit.
    fence
        Grows each time the request is given out: what comes under an older one is refused.
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
    problem: AutomaskError | None = None


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What a sweep changed, as request ids.

    Attributes
    ----------
    late
        FAILED, because their deadline has passed; with their owners.
    requeued
        QUEUED again, because nobody renewed their lease.
    given_up
        FAILED, because nobody renewed their lease at the last attempt; with their owners.
    expired
        Deleted: ended longer ago than the retention.
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
        Requests in each state.
    size
        Bytes in use: of an SQLite file with its log, in a database of tasks and results.
    """

    counts: Mapping[State, int]
    size: int
