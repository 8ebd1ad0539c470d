"""`automask bench hosted`, with a second server as the hosted API behind a proxy that adds latency."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.resources import files
from itertools import islice
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from automask.cli import main
from automask.service.bench.clients import Measurements
from automask.service.bench.comparison import data_uris, iou
from automask.service.keys.sqlite import SqliteKeyStore
from support.threaded_server import serving

PHOTO = Path(str(files("automask.data").joinpath("person.jpg")))
DELAY = 0.02


class SlowLine:
    """A TCP proxy that delays data by a fixed time, and counts paid calls."""

    def __init__(self, target: str) -> None:
        self.paid = 0
        self.address = ""
        self._host, _, self._port = target.rpartition(":")
        self._carrying: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.StreamWriter] = []

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self._carrying.append(asyncio.create_task(self._carry(reader, writer)))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._host, int(self._port))
        self._writers.append(far_writer)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pour(reader, far_writer))
            group.create_task(self._pour(far_reader, writer))
        far_writer.close()
        writer.close()

    async def close(self) -> None:
        """Close all connections, idle ones as well."""
        for task in self._carrying:
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    async def _pour(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while part := await source.read(1 << 20):
            self.paid += part.startswith(b"POST ")
            await asyncio.sleep(DELAY)
            target.write(part)
            await target.drain()
        target.write_eof()


@contextmanager
def slow_line(target: str) -> Iterator[SlowLine]:
    """Run a `SlowLine` until the block ends."""
    line, ready = SlowLine(target), Event()
    loop, stopping = asyncio.new_event_loop(), asyncio.Event()

    async def run() -> None:
        server = await asyncio.start_server(line.accept, "127.0.0.1", 0)
        line.address = "{}:{}".format(*server.sockets[0].getsockname())
        ready.set()
        await stopping.wait()
        server.close()
        await line.close()

    thread = Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    ready.wait()
    try:
        yield line
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()
        loop.close()


class Both:
    """A local server, and one as the hosted API, which requires a key."""

    def __init__(self, local: str, line: SlowLine, key: str, poor_key: str) -> None:
        self.line, self.key, self.poor_key = line, key, poor_key
        urls = ("--server", f"http://{local}/v1", "--hosted-url", f"http://{line.address}/v1")
        self.arguments = ["bench", "hosted", "--image", str(PHOTO), "--prompt", "person", *urls]

    def __call__(self, *options: str, key: str | None = None) -> Result:
        return CliRunner().invoke(
            main, [*self.arguments, *options], env={"SEGMIND_API_KEY": self.key if key is None else key}
        )


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    mine, theirs = tmp_path_factory.mktemp("mine"), tmp_path_factory.mktemp("theirs")
    with closing(SqliteKeyStore(theirs / "keys.sqlite3", create=True)) as keys:
        key, poor_key = keys.add("customer"), keys.add("poor", credits=3)
    with (
        serving(mine, http_port=0) as local,
        serving(theirs, http_port=0, keys=theirs / "keys.sqlite3") as vendor,
        slow_line(str(vendor.http_address)) as line,
    ):
        yield Both(str(local.http_address), line, key, poor_key)


def test_both_servers_are_measured_and_their_masks_compared(both: Both, tmp_path: Path) -> None:
    report, picture = tmp_path / "hosted.json", tmp_path / "hosted.png"
    before = both.line.paid
    response = both("--n", "3", "--yes", "--json", str(report), "--picture", str(picture))
    assert response.exit_code == 0, response.output
    assert both.line.paid - before == 6
    assert "6 paid calls" in response.stderr
    assert "about $0.006" in response.stderr
    assert "Published by the vendor, not measured" in response.stdout
    found = json.loads(report.read_text())
    assert found["mask_iou"] == {"least": 1.0, "mean": 1.0}
    assert (found["rounds"], found["stopped_by"]) == (3, None)
    assert found["published_by_the_vendor"]["latency_s"] == 1.49
    for who in ("hosted", "local"):
        for way in ("sync", "async"):
            one = found[who][way]
            assert one["cost_per_1000"] == 0
            assert 0 < one["server_ms"]["p50"] <= one["latency_ms"]["p50"] <= one["latency_ms"]["p95"]
    there_and_back = 2 * DELAY * 1e3
    assert found["hosted"]["sync"]["network_ms"]["p50"] >= there_and_back
    # Submit, poll, result; the server works while the first response and the second request are in transit.
    assert found["hosted"]["async"]["latency_ms"]["p50"] >= 3 * there_and_back
    assert found["hosted"]["async"]["network_ms"]["p50"] >= 2 * there_and_back
    with Image.open(PHOTO) as photo, Image.open(picture) as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 3 * min(photo.width, photo.width * 800 / photo.height)


def test_paid_calls_are_reported_if_the_hosted_api_fails(both: Both, tmp_path: Path) -> None:
    report = tmp_path / "hosted.json"
    response = both("--n", "3", "--yes", "--json", str(report), key=both.poor_key)
    assert response.exit_code == 1
    assert "406" in response.stderr
    assert "IoU of the masks" in response.stdout
    found = json.loads(report.read_text())
    assert (found["rounds"], found["mask_iou"]["mean"]) == (1, 1.0)
    assert "406" in found["stopped_by"]


def test_paid_calls_need_confirmation(both: Both) -> None:
    before = both.line.paid
    response = both("--n", "2")
    assert response.exit_code == 2
    assert "4 paid calls" in response.stderr
    assert "use --yes" in response.stderr
    assert both.line.paid == before


@pytest.mark.parametrize(("typed", "status", "paid"), [(b"n\n", 1, 0), (b"y\n", 0, 2)])
def test_the_confirmation_can_be_declined(both: Both, typed: bytes, status: int, paid: int) -> None:
    before = both.line.paid
    ours, theirs = pty.openpty()
    os.write(ours, typed)
    ended = subprocess.run(
        [sys.executable, "-m", "automask", *both.arguments, "--n", "1"],
        stdin=theirs,
        capture_output=True,
        env={**os.environ, "SEGMIND_API_KEY": both.key},
        check=False,
    )
    os.close(ours)
    os.close(theirs)
    assert ended.returncode == status, ended.stderr
    assert b"Continue?" in ended.stderr
    assert both.line.paid - before == paid


def test_a_missing_key_is_named(both: Both) -> None:
    response = both("--yes", key="")
    assert response.exit_code == 2
    assert "SEGMIND_API_KEY must contain your API key" in response.stderr


def test_a_missing_client_is_named(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segmind", None)  # not importable
    response = both("--yes")
    assert response.exit_code == 1
    assert "needs its own client: pip install segmind" in response.stderr


def test_a_rejected_call_is_reported(both: Both) -> None:
    response = both("--yes", key="wrong")
    assert response.exit_code == 1
    assert "the hosted API" in response.stderr
    assert "401" in response.stderr


def test_the_vendors_key_is_not_sent_to_another_server(both: Both) -> None:
    response = both("--yes", "--server", f"http://{both.line.address}/v1")  # this server would accept the key
    assert response.exit_code == 1
    assert "your server" in response.stderr
    assert "401" in response.stderr


def test_nothing_is_paid_if_the_local_server_is_down(both: Both) -> None:
    before = both.line.paid
    response = both("--yes", "--server", "http://127.0.0.1:9/v1")
    assert response.exit_code == 1
    assert "your server (http://127.0.0.1:9/v1) does not respond" in response.stderr
    assert both.line.paid == before


def test_nothing_is_paid_for_an_invalid_photo(both: Both, tmp_path: Path) -> None:
    before = both.line.paid
    (tmp_path / "photo.webp").write_bytes(b"no photo")
    response = both("--yes", "--image", str(tmp_path / "photo.webp"))
    assert response.exit_code == 1
    assert "not an image" in response.stderr
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.webp")
    response = both("--yes", "--image", str(tmp_path / "photo.webp"))
    assert "the photo must be JPEG or PNG, got WebP" in response.stderr
    assert both.line.paid == before


def test_every_call_sends_different_bytes_of_the_same_picture() -> None:
    photo = PHOTO.read_bytes()
    uris = list(islice(data_uris(photo), 3))
    assert len({*uris}) == 3
    for uri in uris:
        head, _, data = uri.partition(",")
        assert head == "data:image/jpeg;base64"
        assert base64.b64decode(data).startswith(photo)


def test_iou_of_masks() -> None:
    empty, left, whole = (np.zeros((4, 8, 3), np.uint8) for _ in range(3))
    left[:, :4], whole[:] = 255, 255
    assert iou(whole, whole) == iou(empty, empty) == 1
    assert iou(whole, empty) == 0
    assert iou(whole, left) == 0.5
    assert iou(whole, left[::2, ::2]) == 0.5  # the hosted API may return another size


def test_unreported_values_are_none() -> None:
    silent = Measurements(latency=[0.1, 0.3], server=[0.1], cost=[])
    assert silent.summary() == {
        "latency_ms": {"p50": 200.0, "p95": 290.0},
        "server_ms": None,
        "network_ms": None,
        "cost_per_1000": None,
    }
    reported = Measurements(latency=[0.1, 0.3], server=[0.05, 0.05], cost=[0.001, 0.003])
    assert reported.summary()["network_ms"] == {"p50": 150.0, "p95": 240.0}
    assert reported.summary()["cost_per_1000"] == pytest.approx(2)
