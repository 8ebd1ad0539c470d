"""Notifications between servers that share a database: NOTIFY, and LISTEN on a connection of its own."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from selectors import EVENT_READ, DefaultSelector
from time import monotonic
from typing import Final

import psycopg

from ..config.locations import PostgresUrl
from .database import Db, connect

__all__ = ["Listener", "notify"]

_CHANNEL: Final = "automask"


def notify(db: Db, sender: str, item: str) -> None:
    """Notify the other servers of a changed item, once the transaction is committed."""
    db.execute("SELECT pg_notify(%s, %s)", (_CHANNEL, f"{sender} {item}"))


class Listener:
    """Receives the notifications of other servers.

    Parameters
    ----------
    url
        URL of the database.
    server_id
        The sender whose own notifications are ignored.
    """

    def __init__(self, url: PostgresUrl, server_id: str) -> None:
        self._url, self._server_id = url, server_id
        self._connection: Db | None = None
        self._stop_writer, self._stop_reader = socket.socketpair()

    def listen(self, timeout: float) -> frozenset[str] | None:
        """Wait for notifications.

        Parameters
        ----------
        timeout
            Seconds to wait at most.

        Returns
        -------
        The changed items; empty after the timeout or `stop_listening`; None if some may have been missed.

        Raises
        ------
        psycopg.Error
            The connection cannot be opened, or breaks.
        """
        end = monotonic() + timeout
        try:
            if self._connection is None:
                self._connection = connect(self._url)
                self._connection.execute(f"LISTEN {_CHANNEL}".encode())
                return None  # earlier notifications were missed
            while not (items := self._received(self._connection)):
                left = end - monotonic()
                if left <= 0 or not self._wait(self._connection, left):
                    return frozenset()
        except psycopg.Error:
            self._disconnect()
            raise
        return items

    def _wait(self, connection: Db, seconds: float) -> bool:
        """Wait for data; return False after `stop_listening`."""
        with DefaultSelector() as selector:
            selector.register(connection.fileno(), EVENT_READ)
            selector.register(self._stop_reader, EVENT_READ)
            return self._stop_reader not in {key.fileobj for key, _ in selector.select(seconds)}

    def _received(self, connection: Db) -> frozenset[str]:
        connection.pgconn.consume_input()
        payloads: list[str] = []
        while notification := connection.pgconn.notifies():
            payloads.append(notification.extra.decode())
        return frozenset(self._of_others(payloads))

    def _of_others(self, payloads: Iterable[str]) -> Iterable[str]:
        for payload in payloads:
            sender, _, item = payload.partition(" ")
            if sender != self._server_id:
                yield item

    def stop_listening(self) -> None:
        """Make `listen` return at once, from now on."""
        self._stop_writer.send(b"!")

    def close(self) -> None:
        """Close the connection."""
        self._disconnect()
        self._stop_writer.close()
        self._stop_reader.close()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
