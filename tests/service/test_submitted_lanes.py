"""Submitted requests whose images take long to decode do not keep others waiting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from automask.service import Client, Job
from support.decoders import count_none_as_slow, start_both
from support.hostile_images import ATTACKS
from support.threaded_server import CALL_TIMEOUT, serving, wait_until


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    """A server of its own for each test, which ends its decoders; it takes two requests of each lane from its store."""
    with serving(tmp_path, workers=1, decode_processes=2, drain=0.1) as server:
        yield server


@pytest.fixture
def client(server: Any) -> Iterator[Client]:
    with Client(server.address) as client:
        yield client


def active_lanes(server: Any) -> list[bool]:
    """Whether each request that the worker has leased is large."""
    return [lease.is_large for lease, _ in list(server._components._worker._active.values())]


def end(jobs: list[Job[Any]], stopped: list[psutil.Process]) -> None:
    for job in jobs:
        job.cancel()
    for process in stopped:
        process.kill()


def test_small_requests_are_worked_on_past_large_ones(
    server: Any, client: Client, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    count_none_as_slow(monkeypatch)
    start_both(server._decoder)
    busy = psutil.Process(server._decoder._idle[0].pid)  # the next large image is for this one
    busy.suspend()
    slow = ATTACKS["png-rgba16-50mp"]()
    jobs = [client.submit(slow + bytes([n]), "cup") for n in range(4)]
    try:
        wait_until(lambda: [process.pid for process in [*server._decoder._busy]] == [busy.pid])
        assert client.submit(jpeg, "cup").result(timeout=CALL_TIMEOUT).labels == ("cup",)
        assert active_lanes(server).count(True) == 2
        assert not any(job.status().has_ended for job in jobs)
    finally:
        end(jobs, [busy])


def test_a_slow_request_that_looks_small_goes_back_to_the_queue(
    server: Any, client: Client, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = start_both(server._decoder)
    for process in stopped:
        process.suspend()
    jobs = [client.submit(jpeg + bytes([n]), "cup") for n in (1, 2)]
    try:
        wait_until(lambda: True in active_lanes(server))
        count_none_as_slow(monkeypatch)  # or the next one might go back, too
        assert client.submit(jpeg + b"3", "cup").result(timeout=CALL_TIMEOUT).labels == ("cup",)
        for process in stopped:
            if process.is_running():
                process.resume()
        assert [job.result(timeout=CALL_TIMEOUT).labels for job in jobs] == [("cup",)] * 2
        assert [job.status().attempts for job in jobs] == [1, 1]
    finally:
        end(jobs, [process for process in stopped if process.is_running()])
