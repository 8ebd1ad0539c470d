"""Request stores for tests, with a clock that the test moves."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from automask.errors import AutomaskError
from automask.service.config.locations import PostgresUrl
from automask.service.store import factory
from automask.service.store.clock import Clock
from automask.service.store.policy import StorePolicy
from automask.service.store.protocol import Store
from automask.service.store.records import Lease

RETENTION = 100.0
LEASE = 10.0


@dataclass
class ManualTime:
    """The wall clock and the steady clock; in whole seconds, so that sums are exact."""

    wall: float = 1_800_000_000.0
    steady: float = 1000.0

    def advance(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds

    def clock(self) -> Clock:
        return Clock(lambda: self.wall, lambda: self.steady)


def encode_error(error: AutomaskError) -> bytes:
    return f"{type(error).__name__}: {error}".encode()


def open_store(
    location: Path | PostgresUrl, time: ManualTime | None = None, media: str | None = None, **settings: Any
) -> Store:
    policy = StorePolicy(encode_error=encode_error, **({"retention": RETENTION, "lease_seconds": LEASE} | settings))
    return factory.open_store(location, policy, clock=(time or ManualTime()).clock(), media=media, media_from=1000)


def add(store: Store, task: bytes = b"task", **options: object) -> str:
    return store.add(task, **({"owner": "me", "model": "default"} | options)).request_id  # type: ignore[arg-type]


def lease_next(store: Store) -> Lease:
    lease = store.lease()
    assert lease is not None
    return lease
