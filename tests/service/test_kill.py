"""`kill -9` of the server: a request that kills it is given up, and a second signal loses nothing.

`tests/benchmarks/test_durability.py` kills it many times under load.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

import automask
from automask.service import Client, InternalError
from support.server_process import ServerProcess


def test_a_request_that_kills_the_server_is_given_up_and_does_not_block_others(
    tmp_path: Path, coffee_file: Path, segmenter: automask.Segmenter
) -> None:
    """A request of half a minute, during which the server is killed each time."""
    options = ("--port", 0, "--store", tmp_path / "requests.sqlite3", "--workers", 1)
    poison = ""
    for attempt in (1, 2, 3):
        with ServerProcess(*options) as server, Client(server.address) as client:
            if not poison:
                poison = client.submit(coffee_file, segmenter.vocabulary[:64], threshold=0.0).request_id
            for status in client.job(poison).watch():
                if status.attempts == attempt:
                    break
            server.end(signal.SIGKILL)
    with ServerProcess(*options) as server, Client(server.address) as client:
        with pytest.raises(InternalError, match="given up after 3 attempts"):
            client.job(poison).result(timeout=60)
        assert client.job(poison).status().state == "FAILED"
        assert not client.submit(coffee_file, "cup").result(timeout=60).is_empty
        server.end()


def test_a_second_signal_ends_a_drain_and_loses_no_request(
    tmp_path: Path, coffee_file: Path, other_jpeg: bytes, segmenter: automask.Segmenter
) -> None:
    options = ("--port", 0, "--store", tmp_path / "requests.sqlite3", "--workers", 1)
    with ServerProcess(*options, "--drain", "1h") as server, Client(server.address) as client:
        endless = client.submit(other_jpeg, segmenter.vocabulary[:64], threshold=0.0).request_id
        waiting = client.submit(coffee_file, "cup").request_id
        next(status for status in client.job(endless).watch() if status.state == "PROCESSING")
        os.kill(server.pid, signal.SIGTERM)
        server.wait_for("draining")
        assert server.end(signal.SIGINT) == -signal.SIGINT
    with ServerProcess(*options) as server, Client(server.address) as client:
        client.job(endless).cancel()
        result = client.job(waiting).result(timeout=60)
        assert isinstance(result, automask.Result)
        assert not result.is_empty
        server.end()
