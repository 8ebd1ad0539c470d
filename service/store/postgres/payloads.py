"""Tasks and results: in the database, or outside where they are large. None outside is lost track of."""

from __future__ import annotations

import logging
import uuid
from typing import Final, Literal

from psycopg import sql

from ...postgres.database import Database, Db, StoreUnavailableError
from ..clock import Clock
from .media import Media
from .statements import COLLECT

__all__ = ["Payload", "Payloads"]

_LOG = logging.getLogger(__name__)
_GRACE: Final = 3600.0  # seconds in which what was written must be in use

Payload = tuple[bytes | None, str | None]
"""The bytes themselves, or the name of the object that holds them."""


class Payloads:
    """Puts large bytes outside, and collects what is not in use.

    The table `objects` knows of each before it is written. A request refers to it with a foreign key, in the
    transaction that needs it, and `collect` deletes under a lock that such a key waits for.

    Parameters
    ----------
    database
        Where all the rest is.
    clock
        The time.
    media
        Where large ones go; None for nowhere.
    least
        Bytes from which on they are large.
    """

    def __init__(self, database: Database, clock: Clock, media: Media | None, least: int) -> None:
        self._database, self._clock, self._media, self._least = database, clock, media, least

    def is_large(self, data: bytes) -> bool:
        """Whether it goes outside."""
        return self._media is not None and len(data) >= self._least

    def put(self, data: bytes) -> Payload:
        """Write it outside where it is large; it must be used within the hour."""
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
        """Say in a transaction what it belongs to."""
        data, name = payload
        if name is not None:
            db.execute("UPDATE objects SET collect_after = NULL WHERE path = %s", [name])
        db.execute(
            sql.SQL("INSERT INTO {} VALUES (%s, %s, %s)").format(sql.Identifier(table)), (request_id, data, name)
        )

    def get(self, payload: Payload) -> bytes:
        """Give the bytes; `StoreError` where the object is gone."""
        data, name = payload
        if name is None:
            return data or b""
        if self._media is None:
            raise StoreUnavailableError("it lies where the setting media pointed to, which is not set any more")
        return self._media.read(name)

    def collect(self) -> None:
        """Delete what is not in use."""
        if self._media is None:
            return
        try:
            while self._database.run(self._collect):
                pass
        except StoreUnavailableError as error:  # it stays known, and the next time may go better
            _LOG.warning("could not delete what is not in use: %s", error)

    def _collect(self, db: Db) -> bool:
        now = self._clock.now()
        row = db.execute(COLLECT, [now]).fetchone()
        if row is None or self._media is None:
            return False
        self._media.delete(row[0])
        db.execute("DELETE FROM objects WHERE path = %s", row)
        return True
