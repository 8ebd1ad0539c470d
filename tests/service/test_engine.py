"""The queue of the engine."""

from __future__ import annotations

from contextlib import closing

import pytest

import automask
from automask.parameters import Parameters
from automask.service.core.engine import Engine
from automask.service.core.task import Task
from automask.service.errors import QueueFullError
from automask.service.telemetry.metrics import PrometheusMetrics
from automask.service.wire.responses import write_response
from support.threaded_server import wait_until


def test_a_burst_fills_the_idle_workers_and_the_queue(segmenter: automask.Segmenter, jpeg: bytes) -> None:
    """Also when the workers have not woken up yet."""
    engine = Engine(
        {"default": segmenter},
        workers=3,
        max_queue=2,
        max_batch=1,
        batch_wait=0,
        write=write_response,
        metrics=PrometheusMetrics(),
    )
    endless = Task(jpeg, segmenter.vocabulary[:64], parameters=Parameters(threshold=0.0))
    with closing(engine):
        works = [engine.start(endless, endless.query) for _ in range(5)]
        with pytest.raises(QueueFullError, match="2 requests wait already") as caught:
            engine.start(endless, endless.query)
        assert caught.value.retry_after is not None
        assert caught.value.retry_after > 0
        wait_until(lambda: sum(work.future.running() for work in works) == 3)
        assert engine.waiting == 2
        for work in works:
            work.cancel()
    assert all(work.future.done() for work in works)
