"""Submission of requests in PostgreSQL: idempotency keys, and the new row. All inside a transaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...postgres.database import Db
from ...states import State
from ..clock import Clock
from ..policy import StorePolicy
from .payloads import Payload, Payloads
from .recovery import Recovery
from .statements import INSERT
from .transitions import ROW_BYTES, Transitions

__all__ = ["Submission", "Submissions"]


@dataclass(frozen=True, slots=True)
class Submission:
    """A request to add or to look for.

    Attributes
    ----------
    request_id, owner, model, key, deadline, is_large
        As in `Store.add`; `request_id` is empty to only look for it.
    digest
        Hash of the task.
    size
        Bytes of the task.
    """

    request_id: str
    owner: str
    model: str
    key: str
    digest: bytes
    size: int
    deadline: float | None = None
    is_large: bool = False


@dataclass(frozen=True, slots=True)
class Submissions:
    """Finds, checks and adds requests.

    Attributes
    ----------
    policy
        Limits.
    clock
        The time.
    recovery, transitions
        Deletes expired requests, and notifies other servers of new ones.
    used
        Returns the bytes in use.
    """

    policy: StorePolicy
    clock: Clock
    recovery: Recovery
    transitions: Transitions
    used: Callable[[], int]

    def find(self, db: Db, new: Submission) -> str | None:
        """Return the id of the request with this key, or with this id if an earlier attempt has added it.

        Raises
        ------
        ParameterError
            The key was used with another task.
        """
        if new.key:
            self.recovery.delete_expired(db, owner=new.owner, key=new.key.encode())
        row = db.execute(
            "SELECT id, digest FROM requests WHERE owner = %s AND (idempotency_key = %s OR id = %s)",
            (new.owner, new.key.encode() or None, new.request_id),
        ).fetchone()
        if row is None:
            return None
        self.policy.check_same_task(new.key, new.digest, row[1])
        return str(row[0])

    def find_or_check_room(self, db: Db, new: Submission) -> str | None:
        """Return the id of the request as `find` does; if there is none, raise `QueueFullError` without room for it."""
        known = self.find(db, new)
        if known is None:
            row = db.execute(
                "SELECT count(*), count(*) FILTER (WHERE owner = %s) FROM requests WHERE state = 'QUEUED'", (new.owner,)
            ).fetchone()
            waiting, own = row or (0, 0)
            self.policy.check_room(waiting=waiting, own=own, used=self.used(), wanted=new.size)
        return known

    def find_or_insert(self, db: Db, new: Submission, payload: Payload) -> str:
        """Return the id of the request as `find` does; if there is none, add it.

        Parameters
        ----------
        db
            An open transaction.
        new
            The request.
        payload
            Its task.

        Raises
        ------
        ParameterError
            The key was used with another task.
        QueueFullError
            There is no room.
        """
        known = self.find_or_check_room(db, new)
        if known is not None:
            return known
        now = self.clock.now()
        values = {
            "id": new.request_id,
            "owner": new.owner,
            "model": new.model,
            "state": State.QUEUED,
            "key": new.key.encode() or None,
            "digest": new.digest,
            "size": ROW_BYTES + new.size,
            "now": now,
            "deadline": None if new.deadline is None else now + new.deadline,
            "is_large": new.is_large,
        }
        if db.execute(INSERT, values).rowcount:
            Payloads.use(db, "tasks", new.request_id, payload)
            self.transitions.notify(db, new.request_id)
            return new.request_id
        # A concurrent request came with the same key; INSERT waited for it.
        return self.find(db, new) or new.request_id
