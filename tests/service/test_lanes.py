"""Images that take long to decode never take all workers, threads and decoding processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from time import thread_time

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import automask
from automask.headers import stated_work
from automask.service.core.engine import Engine
from automask.service.core.lanes import Lanes, is_large
from automask.service.core.task import Task
from automask.service.decoding.pool import DecoderPool
from automask.service.telemetry.metrics import PrometheusMetrics
from automask.service.wire.responses import write_response
from automask.v1 import mask_pb2
from support.decoders import SMALL, count_none_as_slow, start_both
from support.hostile_images import ATTACKS, encode, zeros_png
from support.threaded_server import CALL_TIMEOUT, wait_until

LARGE = encode(Image.new("L", (2500, 1700)), "PNG")


@contextmanager
def engine_of(pool: DecoderPool, workers: int, spare_threads: int) -> Iterator[Engine[mask_pb2.MaskResponse]]:
    segmenter = automask.load(device="cpu", decoder=pool)
    segmenter.warm_up()
    engine = Engine(
        {"default": segmenter},
        workers=workers,
        spare_threads=spare_threads,
        max_queue=99,
        max_batch=1,
        batch_wait=0,
        write=write_response,
        metrics=PrometheusMetrics(),
    )
    with closing(engine):
        yield engine


@pytest.mark.parametrize("workers", [1, 2])
def test_a_small_image_goes_past_large_ones(workers: int, jpeg: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    count_none_as_slow(monkeypatch)
    with (
        closing(DecoderPool(processes=2, timeout=60)) as pool,
        engine_of(pool, workers, spare_threads=2) as engine,
    ):
        (pid,) = pool.pids
        process = psutil.Process(pid)
        process.suspend()  # so that the first large one takes longer than the small one
        large = [engine.start(task, task.query) for task in (Task(LARGE + bytes([n]), ("cup",)) for n in range(3))]
        wait_until(lambda: [one.pid for one in [*pool._busy]] == [pid])
        small = Task(jpeg, ("cup",))
        assert engine.start(small, small.query).future.result(CALL_TIMEOUT)
        assert not any(work.future.done() for work in large)
        assert sum(slot.is_large for slot in [*pool._busy.values()]) <= 1
        process.resume()
        assert all(work.future.result(CALL_TIMEOUT) for work in large)


def test_a_small_file_that_is_slow_gives_way_and_is_decoded_later(
    jpeg: bytes, other_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(DecoderPool(processes=2, timeout=60)) as pool, engine_of(pool, 1, spare_threads=2) as engine:
        processes = start_both(pool)
        for process in processes:
            process.suspend()
        slow = [engine.start(task, task.query) for task in (Task(jpeg + bytes([n]), ("cup",)) for n in (1, 2))]
        wait_until(lambda: not all(process.is_running() for process in processes))
        (left,) = (process for process in processes if process.is_running())
        count_none_as_slow(monkeypatch)  # or the next one might give way, too
        small = Task(other_jpeg, ("cup",))
        assert engine.start(small, small.query).future.result(CALL_TIMEOUT)
        assert not any(work.future.done() for work in slow)
        assert left.pid in pool.pids
        left.resume()
        assert all(work.future.result(CALL_TIMEOUT) for work in slow)
        assert engine.waiting == 0


def test_one_that_gave_way_can_be_cancelled(jpeg: bytes) -> None:
    with closing(DecoderPool(processes=2, timeout=60)) as pool, engine_of(pool, 1, spare_threads=2) as engine:
        processes = start_both(pool)
        for process in processes:
            process.suspend()
        works = [engine.start(task, task.query) for task in (Task(jpeg + bytes([n]), ("cup",)) for n in (1, 2))]
        wait_until(lambda: not all(process.is_running() for process in processes))
        for work in works:
            work.cancel()
        (left,) = (process for process in processes if process.is_running())
        os.kill(left.pid, signal.SIGKILL)
        for work in works:
            with pytest.raises(automask.AutomaskError):
                work.future.result(CALL_TIMEOUT)


@given(
    workers=st.integers(1, 8),
    spare=st.integers(0, 8),
    steps=st.lists(st.sampled_from(["small", "large", "aside", "slow", "back", "leave"]), max_size=60),
)
def test_a_small_image_may_start_unless_small_ones_take_all_workers(workers: int, spare: int, steps: list[str]) -> None:
    threads = workers + max(1, spare)
    lanes = Lanes(workers, most_large=min(threads - 1, workers))
    seats = []
    for step in steps:
        if step in {"small", "large"}:
            if lanes.choose([step == "large"]) is not None:
                seats.append(lanes.enter(is_large=step == "large"))
        elif seats:
            seat = seats[len(seats) // 2]
            if step == "leave":
                lanes.leave(seat)
                seats.remove(seat)
            else:
                seat.is_aside = step in {"aside", "slow"}
                seat.is_large |= step == "slow"
        small = sum(not seat.is_large and not seat.is_aside for seat in seats)
        if not small:
            assert lanes.choose([True, False]) in {0, 1}
        assert small <= workers
    if not seats:
        assert lanes.choose([True, False]) == 0
        assert lanes.choose([]) is None


def test_large_images_leave_a_processor_for_a_second_after_a_small_one() -> None:
    now = 100.0
    lanes = Lanes(3, most_large=3, clock=lambda: now)
    seats = [lanes.enter(is_large=True) for _ in range(2)]
    assert lanes.choose([True]) == 0
    small = lanes.enter(is_large=False)
    lanes.leave(small)
    assert lanes.choose([True]) is None
    assert lanes.choose([True, False]) == 1
    now += 1.0
    assert lanes.choose([True]) == 0
    lanes.enter(is_large=False)
    for seat in seats:
        lanes.leave(seat)
    assert lanes.choose([True]) == 0, "never none"


def test_a_process_is_ready_for_the_next_small_image(jpeg: bytes) -> None:
    with closing(DecoderPool(processes=3, timeout=60)) as pool, engine_of(pool, 2, spare_threads=3) as engine:
        pool.start()
        (first,) = pool.pids
        psutil.Process(first).suspend()
        slow = Task(jpeg, ("cup",))
        work = engine.start(slow, slow.query)
        wait_until(lambda: bool(pool._busy) and bool(pool._idle))
        assert [process.pid for process in pool._busy] == [first]
        psutil.Process(first).resume()
        assert work.future.result(CALL_TIMEOUT)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF"])
def test_the_header_states_the_size(kind: str) -> None:
    file = encode(Image.new("RGB", (70, 50)), kind)
    assert stated_work(file) == 3500
    assert not is_large(file)
    assert is_large(encode(Image.new("L", (2500, 1700)), kind))


def test_what_is_large() -> None:
    assert not is_large(b"")
    assert not is_large(b"nothing")
    assert is_large(SMALL + bytes(4_000_000))
    assert is_large(ATTACKS["jpeg-scans-4mp"]())
    assert not is_large(encode(Image.new("RGB", (2000, 1999)), "JPEG", progressive=True))
    assert is_large(zeros_png(4_000_000, 3, 8, 0, 1))
    assert not is_large(np.zeros((2000, 2000, 3), np.uint8))
    assert is_large(np.zeros((2001, 2000, 1), np.uint8))


@pytest.mark.parametrize("name", ATTACKS)
def test_any_header_is_read_quickly(name: str) -> None:
    file = ATTACKS[name]()
    cut = file[:4_000_000]
    before = thread_time()
    is_large(file)
    is_large(cut)
    assert thread_time() - before <= 0.05
