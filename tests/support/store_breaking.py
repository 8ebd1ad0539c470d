"""Programs that tests of the request store start, to kill them or to limit their disk."""

import resource
import sys
from contextlib import suppress
from pathlib import Path

from automask.service.config.locations import parse_location
from automask.service.errors import QueueFullError, StoreError
from support.stores import open_store

PHOTO = bytes(range(256)) * 400


def add_for_ever(path: Path) -> None:
    """Add requests; print the id of each once it is acknowledged."""
    with open_store(path, max_queue=1_000_000) as store:
        while True:
            print(store.add(PHOTO, owner="me", model="default").request_id, flush=True)


def lease_and_hang(path: Path) -> None:
    """Lease one request, print its id, and wait to be killed."""
    with open_store(path) as store:
        lease = store.lease()
        print(lease.request_id if lease else "", flush=True)
        sys.stdin.read()


def work(path: Path) -> None:
    """Wait for a line, then complete all queued requests; print the id of each."""
    with open_store(path) as store:
        print("open", flush=True)
        sys.stdin.readline()
        while lease := store.lease():
            assert store.complete(lease, lease.task)
            print(lease.request_id, flush=True)


def run_out_of_disk(path: Path) -> None:
    """Add requests until no file can grow any more, then continue with more room; print error and count."""
    with open_store(path, max_queue=1_000_000) as store:
        ids = [store.add(PHOTO, owner="me", model="default").request_id]
        lease = store.lease()
        assert lease
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, resource.RLIM_INFINITY))
        with suppress(QueueFullError):
            while True:
                ids.append(store.add(PHOTO, owner="me", model="default").request_id)
        try:
            store.complete(lease, bytes(8 << 20))
        except StoreError as error:
            print(error)
        assert store.renew([lease]) == {lease.request_id}, "the lease still holds"
        assert [store.get(one, "me").queue_position for one in ids[1:]] == list(range(len(ids) - 1))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert store.complete(lease, bytes(8 << 20)), "there is room again"
        assert store.add(PHOTO, owner="me", model="default").queue_position == len(ids) - 1
        print(len(ids))


if __name__ == "__main__":
    globals()[sys.argv[1]](parse_location(sys.argv[2]))
