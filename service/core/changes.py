"""Notification of those who wait for a request to change."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["ChangeNotifier"]

_ANY = ""  # stands for every request


class ChangeNotifier:
    """Sets the events of those who wait for one request, or for any request, to change."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def notify(self, *request_ids: str) -> None:
        """Notify those who wait for these requests, and those who wait for any."""
        for request_id in {*request_ids, _ANY} & self._waiting.keys():
            for event in self._waiting[request_id]:
                event.set()

    def notify_all(self) -> None:
        """Notify everyone who waits."""
        self.notify(*self._waiting)

    @contextmanager
    def watching(self, request_id: str = _ANY) -> Iterator[asyncio.Event]:
        """Yield an event that every change sets. Clear it before reading the request, so that no change is missed."""
        event = asyncio.Event()
        self._waiting[request_id].add(event)
        try:
            yield event
        finally:
            self._waiting[request_id].discard(event)
            if not self._waiting[request_id]:
                del self._waiting[request_id]
