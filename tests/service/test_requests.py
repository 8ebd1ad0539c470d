"""Submitted requests and cancelled calls of a real server, through bare stubs."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from PIL import Image

import automask
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceStub
from support.threaded_server import CALL_TIMEOUT, connect, pending_tasks, rich_status, serving, wait_until

if TYPE_CHECKING:
    from support.ray_one_node import RayCluster

QUEUED, PROCESSING, COMPLETED, FAILED, CANCELLED = (
    messages.RequestState.Value(f"REQUEST_STATE_{name}")
    for name in ("QUEUED", "PROCESSING", "COMPLETED", "FAILED", "CANCELLED")
)


@contextmanager
def connected(folder: Path, cluster: RayCluster | None, **settings: object) -> Iterator[tuple[Any, MaskServiceStub]]:
    with serving(folder, cluster, **settings) as server, connect(server) as channel:
        yield server, MaskServiceStub(channel)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def stub(
    request: pytest.FixtureRequest, cluster: RayCluster | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MaskServiceStub]:
    folder = tmp_path_factory.mktemp("server")
    store = {} if request.param == "sqlite" else {"store": request.getfixturevalue("postgres").create_database()}
    with connected(folder, cluster, workers=1, **store) as (_, stub):
        yield stub


@pytest.fixture(scope="module")
def endless(segmenter: automask.Segmenter, other_jpeg: bytes) -> mask_pb2.MaskTask:
    """A task of half a minute: 64 prompts at threshold 0, for which 1,270 masks are drawn."""
    return task(other_jpeg, *segmenter.vocabulary[:64], threshold=0.0)


def task(data: bytes, *prompts: str, **parameters: object) -> mask_pb2.MaskTask:
    return mask_pb2.MaskTask(
        image=mask_pb2.Image(encoded=data),
        prompts=prompts,
        parameters=mask_pb2.MaskParameters(**parameters),  # type: ignore[arg-type]
    )


def submit(stub: MaskServiceStub, what: mask_pb2.MaskTask, **more: object) -> messages.RequestStatus:
    return stub.Submit(messages.SubmitRequest(task=what, **more)).status  # type: ignore[arg-type]


def status(stub: MaskServiceStub, request_id: str) -> messages.RequestStatus:
    return stub.GetStatus(messages.GetStatusRequest(request_id=request_id)).status


def result(stub: MaskServiceStub, request_id: str) -> messages.GetResultResponse:
    """Wait for the end."""
    request = messages.GetResultRequest(request_id=request_id, wait=Duration(seconds=60))
    return stub.GetResult(request, timeout=CALL_TIMEOUT)


def cancel(stub: MaskServiceStub, request_id: str) -> messages.RequestStatus:
    return stub.Cancel(messages.CancelRequest(request_id=request_id)).status


def watch(stub: MaskServiceStub, request_id: str) -> Iterator[messages.RequestStatus]:
    answers = stub.WatchStatus(messages.WatchStatusRequest(request_id=request_id), timeout=CALL_TIMEOUT)
    return (answer.status for answer in answers)


def wait_for(stub: MaskServiceStub, request_id: str, state: int) -> None:
    next(change for change in watch(stub, request_id) if change.state == state)


def test_from_submit_to_result(stub: MaskServiceStub, segmenter: automask.Segmenter, jpeg: bytes) -> None:
    accepted = submit(stub, task(jpeg, "cup", "dining table", grow_mask=3))
    assert accepted.state in {QUEUED, PROCESSING}
    assert accepted.create_time.seconds > 0
    assert not accepted.HasField("expire_time")
    states = [one.state for one in watch(stub, accepted.request_id)]
    assert states == sorted(set(states)), "every state once, in order"
    assert states[-1] == COMPLETED
    done = result(stub, accepted.request_id)
    for got, prompt in zip(done.response.results, ("cup", "dining table"), strict=True):
        mask = np.asarray(Image.open(io.BytesIO(got.media[0].data)))
        np.testing.assert_array_equal(mask, segmenter.mask(jpeg, prompt, grow_mask=3).mask)
    assert done.status.attempts == 1
    assert done.status.expire_time.seconds - done.status.end_time.seconds == 3600
    assert done.response.parameters.grow_mask == 3
    assert result(stub, accepted.request_id).response == done.response, "asking again gives the same"


def test_get_result_without_wait_returns_the_status(stub: MaskServiceStub, endless: mask_pb2.MaskTask) -> None:
    running = submit(stub, endless).request_id
    answer = stub.GetResult(messages.GetResultRequest(request_id=running))
    assert answer.status.state in {QUEUED, PROCESSING}
    assert not answer.HasField("response")
    assert cancel(stub, running).state == CANCELLED


def test_the_status_of_a_failed_request_has_its_error(stub: MaskServiceStub, jpeg: bytes) -> None:
    done = result(stub, submit(stub, task(jpeg[:3000], "cup")).request_id)
    assert done.status.state == FAILED
    assert "truncated JPEG" in done.status.error.message
    assert done.status.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    info = error_details_pb2.ErrorInfo()
    assert done.status.error.details[0].Unpack(info)
    assert info.reason == "INVALID_IMAGE"
    assert not done.HasField("response")


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"deadline": Duration()}, "deadline"),
        ({"deadline": Duration(seconds=-1)}, "deadline"),
        ({"idempotency_key": "x" * 129}, "idempotency_key"),
    ],
)
def test_submit_refuses_invalid_arguments(
    stub: MaskServiceStub, jpeg: bytes, more: dict[str, object], field: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        submit(stub, task(jpeg, "cup"), **more)
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in rich_status(caught.value).details)
    assert bad.field_violations[0].field == field


def test_submit_refuses_prompts_that_the_model_does_not_know(stub: MaskServiceStub, jpeg: bytes) -> None:
    with pytest.raises(grpc.RpcError, match="'sky' is not among the 80 kinds"):
        submit(stub, task(jpeg, "sky"))


def test_the_same_idempotency_key_is_the_same_request(stub: MaskServiceStub, jpeg: bytes) -> None:
    first = submit(stub, task(jpeg, "cup"), idempotency_key="one")
    assert submit(stub, task(jpeg, "cup"), idempotency_key="one").request_id == first.request_id
    result(stub, first.request_id)
    assert submit(stub, task(jpeg, "cup"), idempotency_key="one").state == COMPLETED
    assert submit(stub, task(jpeg, "cup"), idempotency_key="two").request_id != first.request_id
    with pytest.raises(grpc.RpcError, match="idempotency_key must be new, or come with the task"):
        submit(stub, task(jpeg, "spoon"), idempotency_key="one")


def test_an_unknown_id_is_not_found(stub: MaskServiceStub) -> None:
    with pytest.raises(grpc.RpcError, match="no request 'nonsense'"):
        status(stub, "nonsense")
    with pytest.raises(grpc.RpcError, match="no request 'nonsense'"):
        next(watch(stub, "nonsense"))


@pytest.mark.usefixtures("stops_early")
def test_cancelling_a_running_request_frees_the_worker(
    stub: MaskServiceStub, endless: mask_pb2.MaskTask, jpeg: bytes
) -> None:
    running = submit(stub, endless).request_id
    changes = watch(stub, running)
    next(change for change in changes if change.state == PROCESSING)
    waiting = submit(stub, task(jpeg, "cup")).request_id
    assert cancel(stub, running).state == CANCELLED
    assert [one.state for one in changes] == [CANCELLED]
    assert result(stub, waiting).status.state == COMPLETED
    assert cancel(stub, waiting).state == COMPLETED, "what has ended stays as it ended"


def test_the_status_has_the_queue_position(stub: MaskServiceStub, endless: mask_pb2.MaskTask, jpeg: bytes) -> None:
    running = [submit(stub, endless).request_id for _ in range(2)]  # one is worked on, one is fetched ahead
    for one in running:
        wait_for(stub, one, PROCESSING)
    first, second = (submit(stub, task(jpeg, "cup")).request_id for _ in range(2))
    changes = watch(stub, second)
    assert next(changes).queue_position == 1
    assert cancel(stub, first).state == CANCELLED
    assert next(changes).queue_position == 0
    for one in running:
        cancel(stub, one)
    assert [change.state for change in changes][-1] == COMPLETED


def test_a_deadline_ends_running_and_queued_requests(
    stub: MaskServiceStub, endless: mask_pb2.MaskTask, jpeg: bytes
) -> None:
    running = submit(stub, endless, deadline=Duration(seconds=1)).request_id
    blocking = [submit(stub, endless).request_id for _ in range(2)]
    waiting = submit(stub, task(jpeg, "cup"), deadline=Duration(seconds=1)).request_id
    for request_id in (running, waiting):
        done = result(stub, request_id)
        assert done.status.state == FAILED
        assert done.status.error.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    for one in blocking:
        cancel(stub, one)


@pytest.mark.usefixtures("stops_early")
def test_cancelling_a_call_stops_the_work(stub: MaskServiceStub, endless: mask_pb2.MaskTask, jpeg: bytes) -> None:
    call = stub.Generate.future(messages.GenerateRequest(task=endless))
    other = stub.Generate.future(messages.GenerateRequest(task=task(jpeg, "cup")), timeout=CALL_TIMEOUT)
    call.cancel()
    assert other.result().response.results


@pytest.mark.usefixtures("stops_early")
def test_the_deadline_of_a_call_stops_the_work(stub: MaskServiceStub, endless: mask_pb2.MaskTask, jpeg: bytes) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.Generate(messages.GenerateRequest(task=endless), timeout=1)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert stub.Generate(messages.GenerateRequest(task=task(jpeg, "cup")), timeout=CALL_TIMEOUT).response.results


def test_a_full_queue_says_when_to_retry(
    tmp_path: Path, cluster: RayCluster | None, endless: mask_pb2.MaskTask, jpeg: bytes
) -> None:
    with connected(tmp_path, cluster, workers=1, max_queue=1) as (server, stub):
        running = stub.Generate.future(messages.GenerateRequest(task=endless))
        wait_until(lambda: pending_tasks(server) == 1)
        waiting = stub.Generate.future(messages.GenerateRequest(task=task(jpeg, "cup")))
        wait_until(lambda: pending_tasks(server) == 2)
        with pytest.raises(grpc.RpcError, match="1 requests wait already") as caught:
            stub.Generate(messages.GenerateRequest(task=task(jpeg, "cup")))
        retry = error_details_pb2.RetryInfo()
        assert any(detail.Unpack(retry) for detail in rich_status(caught.value).details)
        assert retry.retry_delay.ToNanoseconds() > 0
        running.cancel()
        assert waiting.result().response.results


def test_a_full_store_says_when_to_retry(
    tmp_path: Path, cluster: RayCluster | None, endless: mask_pb2.MaskTask, jpeg: bytes
) -> None:
    with connected(tmp_path, cluster, workers=1, max_queue=2) as (_, stub):
        running = [submit(stub, endless).request_id for _ in range(2)]
        for one in running:
            wait_for(stub, one, PROCESSING)
        waiting = [submit(stub, task(jpeg, "cup")).request_id for _ in range(2)]
        with pytest.raises(grpc.RpcError) as caught:
            submit(stub, task(jpeg, "cup"))
        assert rich_status(caught.value).code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        for one in running:
            cancel(stub, one)
        assert [result(stub, one).status.state for one in waiting] == [COMPLETED] * 2


def test_a_store_that_is_too_small_refuses_and_keeps_serving(
    tmp_path: Path, cluster: RayCluster | None, jpeg: bytes
) -> None:
    with connected(tmp_path, cluster, max_store_gb=0.0005) as (_, stub):
        big = jpeg + bytes(600_000)
        with pytest.raises(grpc.RpcError) as caught:
            submit(stub, task(big, "cup"))
        assert rich_status(caught.value).code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        assert result(stub, submit(stub, task(jpeg, "cup")).request_id).status.state == COMPLETED


def test_an_expired_request_is_not_found(tmp_path: Path, cluster: RayCluster | None, jpeg: bytes) -> None:
    with connected(tmp_path, cluster, retention=0.5) as (_, stub):
        request_id = submit(stub, task(jpeg, "cup")).request_id
        with pytest.raises(grpc.RpcError, match="no request") as caught:
            wait_until(lambda: not status(stub, request_id))
        assert rich_status(caught.value).code == grpc.StatusCode.NOT_FOUND.value[0]


def test_a_result_outlives_the_server(tmp_path: Path, cluster: RayCluster | None, jpeg: bytes) -> None:
    with connected(tmp_path, cluster) as (_, stub):
        request_id = submit(stub, task(jpeg, "cup")).request_id
        before = result(stub, request_id)
    with connected(tmp_path, cluster) as (_, stub):
        assert result(stub, request_id).response == before.response


def test_two_servers_share_one_store(tmp_path: Path, cluster: RayCluster | None, jpeg: bytes) -> None:
    """Each sees what the other was given, whoever does the work, and a watcher hears of it."""
    with connected(tmp_path, cluster) as (_, one), connected(tmp_path, cluster) as (_, other):
        ids = [submit((one, other)[n % 2], task(jpeg + bytes([n]), "cup")).request_id for n in range(10)]
        for n, request_id in enumerate(ids):
            elsewhere = (other, one)[n % 2]
            assert [change.state for change in watch(elsewhere, request_id)][-1] == COMPLETED
            assert result(elsewhere, request_id).status.attempts == 1
