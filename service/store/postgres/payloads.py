"""Tasks and results: in the database, or outside of it if they are large."""

from __future__ import annotations

import logging
import uuid
from typing import Final, Literal

from psycopg import sql

from ...errors import StoreUnavailableError
from ...postgres.database import Database, Db
from ..clock import Clock
from .media import Media
from .statements import COLLECT

__all__ = ["Payload", "Payloads"]

_LOG = logging.getLogger(__name__)
_GRACE: Final = 3600.0  # seconds after which an object that nothing refers to is deleted

Payload = tuple[bytes | None, str | None]
"""The bytes, or the name of the object that holds them."""


class Payloads:
    """Stores large payloads as objects, and deletes objects that nothing refers to.

    No object is forgotten: its row in the table `objects` is written before it. A request refers to it by a foreign
    key, and `collect` deletes it under a lock that excludes new references.

    Parameters
    ----------
    database
        The database.
    clock
        The time.
    media
        Where large payloads are stored; None keeps all in the database.
    least
        Minimum size of a large payload, in bytes.
    """

    def __init__(self, database: Database, clock: Clock, media: Media | None, least: int) -> None:
        self._database, self._clock, self._media, self._least = database, clock, media, least

    def is_large(self, data: bytes) -> bool:
        """Return whether it is stored outside the database."""
        return self._media is not None and len(data) >= self._least

    def put(self, data: bytes) -> Payload:
        """Write it as an object if it is large; a request must refer to it within an hour, see `use`."""
        if self._media is None or not self.is_large(data):
            return data, None
        name = uuid.uuid4().hex
        self._database.run(
            lambda db: db.execute(
                "INSERT INTO objects VALUES (%s, %s) ON CONFLICT DO NOTHING", (name, self._clock.now() + _GRACE)
            )
        )
        self._media.write(name, data)
        return None, name

    @staticmethod
    def use(db: Db, table: Literal["tasks", "results"], request_id: str, payload: Payload) -> None:
        """Refer to a payload from a request, in a transaction."""
        data, name = payload
        if name is not None:
            db.execute("UPDATE objects SET collect_after = NULL WHERE path = %s", [name])
        db.execute(
            sql.SQL("INSERT INTO {} VALUES (%s, %s, %s)").format(sql.Identifier(table)), (request_id, data, name)
        )

    def get(self, payload: Payload) -> bytes:
        """Return the bytes; `StoreError` if the object was deleted by somebody else."""
        data, name = payload
        if name is None:
            return data or b""
        if self._media is None:
            raise StoreUnavailableError("it is in media storage, but the setting media is not set any more")
        return self._media.read(name)

    def collect(self) -> None:
        """Delete the objects that nothing refers to."""
        if self._media is None:
            return
        try:
            while self._database.run(self._collect):
                pass
        except StoreUnavailableError as error:  # its row stays, and the next sweep tries again
            _LOG.warning("could not delete unused objects: %s", error)

    def _collect(self, db: Db) -> bool:
        now = self._clock.now()
        row = db.execute(COLLECT, [now]).fetchone()
        if row is None or self._media is None:
            return False
        self._media.delete(row[0])
        db.execute("DELETE FROM objects WHERE path = %s", row)
        return True
