"""Hears what others change in a database: LISTEN, on a connection of its own."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from selectors import EVENT_READ, DefaultSelector
from time import monotonic
from typing import Final

import psycopg

from ..config.locations import PostgresUrl
from .database import Db, connect

__all__ = ["CHANNEL", "Listener"]

CHANNEL: Final = "automask"
"""On which changes are told: who made it, a space, what was changed."""


class Listener:
    """Hears changes.

    Parameters
    ----------
    url
        Where the database is.
    myself
        Whose changes are passed over.
    """

    def __init__(self, url: PostgresUrl, myself: str) -> None:
        self._url, self._myself = url, myself
        self._connection: Db | None = None
        self._bell, self._ear = socket.socketpair()

    def listen(self, timeout: float) -> frozenset[str] | None:
        """Wait for changes by others; None where some may have been missed. Raises what psycopg raises."""
        end = monotonic() + timeout
        try:
            if self._connection is None:
                self._connection = connect(self._url)
                self._connection.execute(f"LISTEN {CHANNEL}".encode())
                return None  # what happened before, nobody has told
            while not (heard := self._heard(self._connection)):
                left = end - monotonic()
                if left <= 0 or not self._quiet(self._connection, left):
                    return frozenset()
        except psycopg.Error:
            self._drop()
            raise
        return heard

    def _quiet(self, connection: Db, seconds: float) -> bool:
        """Wait for something to read; False where that shall end."""
        with DefaultSelector() as selector:
            selector.register(connection.fileno(), EVENT_READ)
            selector.register(self._ear, EVENT_READ)
            return self._ear not in {key.fileobj for key, _ in selector.select(seconds)}

    def _heard(self, connection: Db) -> frozenset[str]:
        connection.pgconn.consume_input()
        told: list[str] = []
        while note := connection.pgconn.notifies():
            told.append(note.extra.decode())
        return frozenset(self._others(told))

    def _others(self, told: Iterable[str]) -> Iterable[str]:
        for text in told:
            who, _, what = text.partition(" ")
            if who != self._myself:
                yield what

    def stop_listening(self) -> None:
        """Let `listen` return at once, from now on."""
        self._bell.send(b"!")

    def close(self) -> None:
        """Close the connection."""
        self._drop()
        self._bell.close()
        self._ear.close()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
