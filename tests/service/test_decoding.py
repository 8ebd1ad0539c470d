"""Images decoded in processes of their own: the same pixels, and nothing that a file does there reaches the server."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import psutil
import pytest
from google.protobuf.duration_pb2 import Duration
from PIL import Image

import automask
from automask.errors import ImageError
from automask.images import decode
from automask.service import assembly
from automask.service.core.engine import Engine
from automask.service.core.task import Task
from automask.service.decoding import process as process_module
from automask.service.decoding.pool import DecoderPool
from automask.service.decoding.process import DecodingProcess
from automask.service.errors import InternalError, UnavailableError
from automask.service.server import Server
from automask.service.states import State
from automask.service.store.policy import StorePolicy
from automask.service.store.sqlite.store import SqliteStore
from automask.service.telemetry.metrics import PrometheusMetrics
from automask.service.wire.responses import write_response
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceStub
from support.constant_bundles import constant_bundle
from support.decoders import SMALL, count_none_as_slow
from support.hostile_images import encode, zeros_png
from support.server_process import ServerProcess
from support.threaded_server import CALL_TIMEOUT, connect, serving, wait_until

if TYPE_CHECKING:
    from numpy.typing import NDArray


@pytest.fixture(scope="module")
def slow() -> bytes:
    """A legal image that takes its time: 50 megapixels of four 16-bit channels."""
    return zeros_png(10_000, 5_000, 16, 6, 4)


@pytest.fixture
def pool() -> Iterator[DecoderPool]:
    with closing(DecoderPool(processes=2, timeout=60)) as pool:
        yield pool


def is_red(pixels: NDArray[np.uint8]) -> bool:
    return pixels.shape == (6, 8, 3) and bool((pixels == (255, 0, 0)).all())


def busy(pool: DecoderPool) -> list[int]:
    return [process.pid for process in [*pool._busy]]


def suspended(pool: DecoderPool) -> psutil.Process:
    """Return the one process of a pool, ready and suspended: what it gets next stays in work until it goes on."""
    assert is_red(pool(SMALL)[0])
    (pid,) = pool.pids
    process = psutil.Process(pid)
    process.suspend()
    return process


@contextmanager
def ignoring(number: signal.Signals) -> Iterator[None]:
    """Ignore a signal, here and in the processes that are started meanwhile."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


def is_pending(pid: int, number: signal.Signals) -> bool:
    """Return whether a stopped process will get a signal once it runs again."""
    (pending,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("ShdPnd"))
    return bool(int(pending.split()[1], 16) >> (number - 1) & 1)


def decoding_processes(server: ServerProcess) -> list[psutil.Process]:
    children = psutil.Process(server.pid).children(recursive=True)
    return [child for child in children if "automask.service.decoding.child" in child.cmdline()]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP"])
def test_pixels_are_those_of_this_process(kind: str, pool: DecoderPool, coffee: NDArray[np.uint8]) -> None:
    large = Image.fromarray(coffee).resize((5_000, 3_000))
    for image in (Image.fromarray(coffee), large, Image.fromarray(coffee[:50])):
        file = encode(image, kind, **({"speed": 10} if kind == "AVIF" else {}))
        for shortest in (None, 100):
            pixels, size = pool(file, shortest=shortest)
            expected, expected_size = decode(file, shortest=shortest)
            assert np.array_equal(pixels, expected)
            assert size == expected_size
            assert pixels.flags.writeable


def test_pixels_stay_while_the_process_goes_on(pool: DecoderPool) -> None:
    for side in (100, 4_000):  # in the memory that is used again, and in memory of its own
        images = [encode(Image.new("RGB", (side, side), colour), "PNG") for colour in ("red", "blue")]
        (red, _), (blue, _) = (pool(image) for image in images)
        assert (red == (255, 0, 0)).all()
        assert (blue == (0, 0, 255)).all()


def test_errors_are_those_of_this_process(pool: DecoderPool) -> None:
    for file in (b"nothing", SMALL[:40], b""):
        with pytest.raises(ImageError) as expected:
            decode(file)
        with pytest.raises(ImageError) as caught:
            pool(file)
        assert str(caught.value) == str(expected.value)
    with pytest.raises(ImageError, match="over the limit of 1e-06 megapixels"):
        pool(SMALL, max_pixels=1)
    assert len(pool.pids) == 1, "an error of a file ends no process"


def test_what_takes_too_long_is_killed_and_the_next_one_decoded(slow: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "_SLACK_SECONDS", CALL_TIMEOUT)
    with closing(DecoderPool(processes=1, timeout=0.2)) as pool:
        with ignoring(signal.SIGALRM):  # of the clock, which on a busy machine would be the first to end the process
            pool.start()
        before = pool.pids
        with pytest.raises(
            ImageError, match=r"decoding it takes more than 0\.2 s of processor time \(decode_timeout\)"
        ):
            pool(slow)
        assert len(pool.pids) == 1
        assert pool.pids != before
        assert not any(map(psutil.pid_exists, before))
        pixels, _ = pool(SMALL)
        assert is_red(pixels)


def test_a_decoder_that_does_not_run_may_take_four_times_as_long(slow: bytes) -> None:
    with closing(DecoderPool(processes=1, timeout=1)) as pool, ThreadPoolExecutor(1) as threads:
        with ignoring(signal.SIGPROF):  # of processor time, which could end the process before it is suspended
            pool.start()
        assert is_red(pool(SMALL)[0])
        (pid,) = pool.pids
        child = psutil.Process(pid)
        child.nice(19)  # on a busy machine, this test suspends it before it is done
        idle, started = child.cpu_times().user, monotonic()
        decoding = threads.submit(pool, slow)
        wait_until(lambda: child.cpu_times().user > idle)
        child.suspend()
        wait_until(lambda: is_pending(pid, signal.SIGALRM))
        assert monotonic() - started >= 4
        child.resume()
        with pytest.raises(ImageError, match=r"decoding it takes more than 4 s \(4 times decode_timeout\)"):
            decoding.result()


def test_what_takes_too_much_memory_is_refused(slow: bytes) -> None:
    with closing(DecoderPool(processes=1, timeout=60, memory=100_000_000)) as pool:
        with pytest.raises(ImageError, match="decoding this PNG takes more memory than is available"):
            pool(slow)
        assert is_red(pool(SMALL)[0])


def test_a_crash_is_an_error_of_the_image(pool: DecoderPool) -> None:
    process = suspended(pool)
    with ThreadPoolExecutor(1) as threads:
        decoding = threads.submit(pool, SMALL)
        wait_until(lambda: busy(pool) == [process.pid])
        process.send_signal(signal.SIGSEGV)
        process.resume()
        with pytest.raises(ImageError, match="decoding it ended the decoder \\(SIGSEGV; it has 600 MB\\)"):
            decoding.result()
    assert is_red(pool(SMALL)[0])


def test_a_process_that_died_in_the_meantime_is_replaced(pool: DecoderPool) -> None:
    assert is_red(pool(SMALL)[0])
    (pid,) = pool.pids
    process = psutil.Process(pid)
    process.kill()
    wait_until(lambda: process.status() == psutil.STATUS_ZOMBIE)
    assert is_red(pool(SMALL)[0])
    assert pool.pids != {pid}


def test_a_process_that_cannot_start_is_no_error_of_the_image(
    pool: DecoderPool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "numpy.py").write_text("raise ImportError('no numpy here')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InternalError, match="a decoding process cannot start"):
        pool(SMALL)


def test_a_pool_starts_no_more_processes_than_it_may_and_leaves_none(pool: DecoderPool) -> None:
    with ThreadPoolExecutor(8) as threads:
        assert all(is_red(pixels) for pixels, _ in threads.map(pool, [SMALL] * 40))
    pids = pool.pids
    assert 1 <= len(pids) <= 2
    pool.close()
    assert not any(map(psutil.pid_exists, pids))
    with pytest.raises(UnavailableError, match="the server is shutting down"):
        pool(SMALL)


def test_workers_go_on_while_a_decoder_is_slow(
    pool: DecoderPool, slow: bytes, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    count_none_as_slow(monkeypatch)
    segmenter = automask.load(device="cpu", decoder=pool)
    segmenter.warm_up()
    process = suspended(pool)
    engine = Engine(
        {"default": segmenter},
        workers=1,
        spare_threads=1,
        max_queue=9,
        max_batch=1,
        batch_wait=0,
        write=write_response,
        metrics=PrometheusMetrics(),
    )
    with closing(engine):
        large, small = (Task(image, ("cup",)) for image in (slow, jpeg))
        first = engine.start(large, large.query)
        wait_until(lambda: busy(pool) == [process.pid])
        second = engine.start(small, small.query)
        assert second.future.result(CALL_TIMEOUT)
        assert not first.future.done()
        assert busy(pool) == [process.pid]
        process.kill()
        with pytest.raises(ImageError, match="ended the decoder"):
            first.future.result(CALL_TIMEOUT)
        assert engine.waiting == 0
        assert engine._lanes.busy <= 1


def test_a_request_whose_image_ends_the_decoder_fails(tmp_path: Path, jpeg: bytes) -> None:
    with serving(tmp_path, decode_processes=1) as server, connect(server) as channel:
        stub = MaskServiceStub(channel)
        process = suspended(server._decoder)
        task = mask_pb2.MaskTask(image=mask_pb2.Image(encoded=SMALL), prompts=["cup"])
        request_id = stub.Submit(messages.SubmitRequest(task=task)).status.request_id
        wait_until(lambda: busy(server._decoder) == [process.pid])
        process.send_signal(signal.SIGSEGV)
        process.resume()
        get = messages.GetResultRequest(request_id=request_id, wait=Duration(seconds=60))
        status = stub.GetResult(get, timeout=CALL_TIMEOUT).status
        assert status.state == messages.REQUEST_STATE_FAILED
        assert status.attempts == 1
        assert "decoding it ended the decoder (SIGSEGV" in status.error.message
        good = mask_pb2.MaskTask(image=mask_pb2.Image(encoded=jpeg), prompts=["cup"])
        assert stub.Generate(messages.GenerateRequest(task=good), timeout=CALL_TIMEOUT)


def test_a_request_that_is_killed_while_the_server_drains_is_not_repeated(tmp_path: Path, slow: bytes) -> None:
    path = tmp_path / "requests.sqlite3"
    # One process: with more, a slow image starts a second, for the next image.
    options = ("--port", 0, "--store", path, "--decode-processes", 1)
    with ServerProcess(*options) as server, grpc.insecure_channel(server.address) as channel:
        stub = MaskServiceStub(channel)
        small, large = (
            mask_pb2.MaskTask(image=mask_pb2.Image(encoded=image), prompts=["cup"]) for image in (SMALL, slow)
        )
        stub.Generate(messages.GenerateRequest(task=small))  # after which the process has started, and is idle
        (child,) = decoding_processes(server)
        child.nice(19)  # on a busy machine, this test suspends it before it is done
        idle = child.cpu_times().user
        request_id = stub.Submit(messages.SubmitRequest(task=large)).status.request_id
        wait_until(lambda: child.cpu_times().user > idle)
        child.suspend()
        os.kill(server.pid, signal.SIGTERM)
        server.wait_for("draining")
        child.kill()
        server.wait_for("stopped")
    with SqliteStore(path, StorePolicy(encode_error=lambda _: b"")) as store:
        record = store.get(request_id, "")
        assert (record.state, record.attempts) == (State.FAILED, 1)


def test_a_request_that_no_drain_lets_finish_fails_and_one_that_finishes_at_last_has_one_attempt(
    tmp_path: Path, slow: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A model that loads at once, and two drains instead of ten that do not count: there are nine servers.
    monkeypatch.setattr(assembly, "StorePolicy", partial(StorePolicy, max_put_backs=2))
    decode = DecodingProcess.decode
    is_stopping = True

    def stop_and_decode(self: DecodingProcess, encoded: bytes, *more: Any) -> Any:
        if is_stopping and encoded == slow:
            os.kill(self.pid, signal.SIGSTOP)
        return decode(self, encoded, *more)

    monkeypatch.setattr(DecodingProcess, "decode", stop_and_decode)
    logits = {"logits": np.ones((1, 8, 8), np.float32)}
    model = constant_bundle(tmp_path / "cups", "dense", "segmenter", logits, ("cup",), kinds={"scores": "labels"})
    options: dict[str, Any] = {"drain": 0, "decode_processes": 1, "workers": 1, "model": (str(model),)}

    def drain_while_it_decodes() -> None:
        with serving(tmp_path, **options) as server:
            wait_until(lambda: bool(busy(server._decoder)))

    def submit(server: Server) -> str:
        task = mask_pb2.MaskTask(image=mask_pb2.Image(encoded=slow), prompts=["cup"])
        with connect(server) as channel:
            return MaskServiceStub(channel).Submit(messages.SubmitRequest(task=task)).status.request_id

    def wait_for(server: Server, request_id: str) -> messages.RequestStatus:
        wait = messages.GetResultRequest(request_id=request_id, wait=Duration(seconds=60))
        with connect(server) as channel:
            return MaskServiceStub(channel).GetResult(wait, timeout=CALL_TIMEOUT).status

    with serving(tmp_path, **options) as server:
        request_id = submit(server)
    drain_while_it_decodes()
    is_stopping = False
    with serving(tmp_path, **options, decode_timeout=60) as server:
        status = wait_for(server, request_id)
        assert (status.state, status.attempts) == (messages.REQUEST_STATE_COMPLETED, 1)
    is_stopping = True
    with serving(tmp_path, **options) as server:
        request_id = submit(server)
        wait_until(lambda: bool(busy(server._decoder)))
    for _ in range(4):
        drain_while_it_decodes()
    with serving(tmp_path, **options) as server:
        status = wait_for(server, request_id)
        assert (status.state, status.attempts) == (messages.REQUEST_STATE_FAILED, 3)
        assert "given up after 3 attempts" in status.error.message


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_the_server(number: signal.Signals, tmp_path: Path) -> None:
    with ServerProcess("--port", 0, "--store", tmp_path / "requests.sqlite3") as server:
        children = psutil.Process(server.pid).children(recursive=True)
        assert decoding_processes(server)
        server.end(number)
    _, alive = psutil.wait_procs(children, timeout=CALL_TIMEOUT)
    assert not alive


def test_trusted_callers_need_no_processes(tmp_path: Path) -> None:
    with ServerProcess("--port", 0, "--store", tmp_path / "requests.sqlite3", "--decode-processes", 0) as server:
        assert not psutil.Process(server.pid).children(recursive=True)
        assert server.end() == 0
