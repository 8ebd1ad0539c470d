"""Stopping work from outside: the running graph ends, and nobody else's work is lost."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

import automask
from automask.cache import ByteCache
from automask.session import Session


@pytest.fixture
def endless(tmp_path: Path) -> Session:
    """A graph that counts for hours unless it is stopped."""
    body = helper.make_graph(
        [helper.make_node("Add", ["x", "one"], ["y"]), helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [1]),
        ],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["times", "always", "start"], ["end"], body=body)],
        "endless",
        [helper.make_tensor_value_info("start", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("end", TensorProto.FLOAT, [1])],
        [
            helper.make_tensor("times", TensorProto.INT64, [], [10**12]),
            helper.make_tensor("always", TensorProto.BOOL, [], [True]),
            helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]),
        ],
    )
    path = tmp_path / "endless.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return Session(path, "cpu")


class Announcing(automask.Interrupt):
    """Sets `begun` when a graph is about to run under it."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = Event()

    @contextmanager
    def stopping(self, options: Any) -> Iterator[None]:
        with super().stopping(options):
            self.begun.set()
            yield


def test_a_running_graph_is_stopped(endless: Session) -> None:
    interrupt = Announcing()

    def run() -> None:
        with interrupt.active():
            endless.run(start=np.zeros(1, np.float32))

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run)
        running.add_done_callback(lambda _: interrupt.begun.set())  # also when it fails before
        interrupt.begun.wait()
        assert not running.done()
        interrupt.set()
        with pytest.raises(automask.CancelledError, match="stopped by an interrupt"):
            running.result()


def test_a_set_interrupt_keeps_a_call_from_starting(
    segmenter: automask.Segmenter, coffee: NDArray[np.uint8], runs: dict[str, int]
) -> None:
    interrupt = automask.Interrupt()
    interrupt.set()
    with pytest.raises(automask.CancelledError, match="stopped by an interrupt"):
        segmenter.mask(coffee, "cup", interrupt=interrupt)
    assert not runs


def test_an_interrupt_that_is_not_set_changes_nothing(segmenter: automask.Segmenter, coffee: NDArray[np.uint8]) -> None:
    interrupt = automask.Interrupt()
    with_it = segmenter.mask(coffee, "cup", interrupt=interrupt)
    np.testing.assert_array_equal(with_it.mask, segmenter.mask(coffee, "cup").mask)
    assert not interrupt.is_set


def test_an_error_of_a_graph_is_not_taken_for_an_interrupt(endless: Session) -> None:
    with automask.Interrupt().active(), pytest.raises(Exception, match="Invalid rank|Got invalid dimensions"):
        endless.run(start=np.zeros((1, 2), np.float32))


def test_a_thread_that_waits_for_an_interrupted_computation_computes_itself() -> None:
    cache = ByteCache[str](100, len)
    begun, stop, waits = Event(), Event(), Event()

    def stopped() -> str:
        begun.set()
        stop.wait()
        raise automask.CancelledError("stopped")

    class Key(str):
        """Tells when it is looked up the second time: then the other one is about to wait."""

        __slots__ = ()

        def __hash__(self) -> int:
            waits.set()
            return super().__hash__()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.get, "photo", stopped)
        begun.wait()
        second = pool.submit(cache.get, Key("photo"), lambda: "encoded")
        waits.wait()
        stop.set()
        with pytest.raises(automask.CancelledError, match="^stopped$"):
            first.result()
        assert second.result() == "encoded"
    assert cache.info().entries == 1
