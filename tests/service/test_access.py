"""Keys, rate limits and credits of a real server, through bare stubs."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

import automask
from automask.service.config.locations import PostgresUrl
from automask.service.core.access import Access
from automask.service.keys.factory import open_key_store
from automask.service.keys.key import Key
from automask.service.keys.protocol import KeyStore
from automask.service.keys.rate_limits import Rate
from automask.service.keys.sqlite import SqliteKeyStore
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceStub
from support.threaded_server import connect, serving

if TYPE_CHECKING:
    from support.ray_one_node import RayCluster

ENDED = {messages.REQUEST_STATE_COMPLETED, messages.REQUEST_STATE_FAILED, messages.REQUEST_STATE_CANCELLED}
PATIENCE = Duration(seconds=60)


@dataclass
class KeyedServer:
    """A server with keys, and its key store."""

    file: KeyStore
    stub: MaskServiceStub

    def caller(self, name: str, **rights: Any) -> Caller:
        return Caller(self.stub, self.file.add(name, **rights))

    def credits(self, name: str) -> int | None:
        return next(key.credits for key in self.file.list() if key.name == name)


@dataclass
class Caller:
    """A client with a key."""

    stub: MaskServiceStub
    key: str

    def __call__(self, method: str, request: Any) -> Any:
        return getattr(self.stub, method)(request, metadata=(("x-api-key", self.key),))

    def generate(self, task: mask_pb2.MaskTask) -> mask_pb2.MaskResponse:
        response: mask_pb2.MaskResponse = self("Generate", messages.GenerateRequest(task=task)).response
        return response

    def submit(self, task: mask_pb2.MaskTask, **more: Any) -> str:
        request_id: str = self("Submit", messages.SubmitRequest(task=task, **more)).status.request_id
        return request_id

    def end_of(self, request_id: str) -> int:
        """How a request ends."""
        request = messages.GetResultRequest(request_id=request_id, wait=PATIENCE)
        state: int = self("GetResult", request).status.state
        assert state in ENDED
        return state

    def refused(self, method: str, request: Any) -> tuple[grpc.StatusCode, str, float | None]:
        """Code, reason, and after how many seconds to try again; the rich error must agree with the plain one."""
        with pytest.raises(grpc.RpcError) as caught:
            self(method, request)
        error: Any = caught.value
        metadata: dict[str, Any] = dict(error.trailing_metadata())
        status = Status.FromString(metadata["grpc-status-details-bin"])
        assert (status.code, status.message) == (error.code().value[0], error.details())
        assert self.key not in str(error) or not self.key
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        for detail in status.details:
            _ = detail.Unpack(info) or detail.Unpack(retry)
        assert info.domain == "automask"
        after = retry.retry_delay.ToNanoseconds() / 1e9 if retry.HasField("retry_delay") else None
        return error.code(), info.reason, after

    def refused_task(self, task: mask_pb2.MaskTask) -> tuple[grpc.StatusCode, str, float | None]:
        return self.refused("Generate", messages.GenerateRequest(task=task))


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def keyed(
    request: pytest.FixtureRequest, cluster: RayCluster | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KeyedServer]:
    folder = tmp_path_factory.mktemp("access")
    place: Path | PostgresUrl = folder / "keys.sqlite3"
    store = {}
    if request.param == "postgres":
        place = PostgresUrl(request.getfixturevalue("postgres").create_database())
        store = {"store": place}
    with (
        closing(open_key_store(place, create=True)) as file,
        serving(folder, cluster, keys=place, workers=1, **store) as server,
        connect(server) as channel,
    ):
        yield KeyedServer(file, MaskServiceStub(channel))


@pytest.fixture(scope="module")
def cup(jpeg: bytes) -> mask_pb2.MaskTask:
    return mask_pb2.MaskTask(image=mask_pb2.Image(encoded=jpeg), prompts=["cup"])


@pytest.fixture(scope="module")
def broken() -> mask_pb2.MaskTask:
    """What only decoding shows to be no image."""
    return mask_pb2.MaskTask(image=mask_pb2.Image(encoded=b"\xff\xd8\xff but no JPEG"), prompts=["cup"])


@pytest.fixture(scope="module")
def endless(segmenter: automask.Segmenter, other_jpeg: bytes) -> mask_pb2.MaskTask:
    """A task of half a minute: 64 prompts at threshold 0, for which 1,270 masks are drawn."""
    return mask_pb2.MaskTask(
        image=mask_pb2.Image(encoded=other_jpeg),
        prompts=segmenter.vocabulary[:64],
        parameters=mask_pb2.MaskParameters(threshold=0),
    )


def test_a_missing_or_unknown_key_is_unauthenticated(keyed: KeyedServer, cup: mask_pb2.MaskTask) -> None:
    good = keyed.caller("turned-away").key
    for wrong in ("", "nonsense", good[:-1], good + "x", good.upper()):
        code, reason, _ = Caller(keyed.stub, wrong).refused_task(cup)
        assert (code, reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
    with pytest.raises(grpc.RpcError, match="send it as x-api-key"):
        keyed.stub.Generate(messages.GenerateRequest(task=cup))


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("Submit", messages.SubmitRequest()),
        ("GetStatus", messages.GetStatusRequest(request_id="x")),
        ("GetResult", messages.GetResultRequest(request_id="x")),
        ("Cancel", messages.CancelRequest(request_id="x")),
        ("ListModels", messages.ListModelsRequest()),
    ],
)
def test_every_method_requires_a_key(keyed: KeyedServer, method: str, request_: Any) -> None:
    assert Caller(keyed.stub, "").refused(method, request_)[0] is grpc.StatusCode.UNAUTHENTICATED


def test_streams_require_a_key(keyed: KeyedServer) -> None:
    streams: list[Any] = [
        keyed.stub.WatchStatus(messages.WatchStatusRequest(request_id="x")),
        keyed.stub.GenerateStream(iter([messages.GenerateStreamRequest()])),
    ]
    for stream in streams:
        with pytest.raises(grpc.RpcError):
            next(stream)
        assert stream.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_key_for_other_models_is_not_allowed_and_not_charged(keyed: KeyedServer, cup: mask_pb2.MaskTask) -> None:
    caller = keyed.caller("elsewhere", models=["clipseg"], credits=1)
    for request in (messages.GenerateRequest(task=cup), messages.SubmitRequest(task=cup)):
        method = type(request).__name__.removesuffix("Request")
        assert caller.refused(method, request) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED", None)
    assert keyed.credits("elsewhere") == 1
    assert keyed.caller("here", models=["default"]).generate(cup).results


def test_an_exceeded_rate_limit_says_when_to_retry(keyed: KeyedServer, cup: mask_pb2.MaskTask) -> None:
    caller = keyed.caller("hasty", rate=Rate(1, "h"), credits=5)
    caller.generate(cup)
    code, reason, after = caller.refused_task(cup)
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMIT")
    assert after is not None
    assert 0 < after <= 3600
    assert keyed.credits("hasty") == 4
    assert caller("ListModels", messages.ListModelsRequest()).models, "asking costs nothing"


def test_a_key_without_credits_is_refused_until_it_is_topped_up(keyed: KeyedServer, cup: mask_pb2.MaskTask) -> None:
    caller = keyed.caller("poor", credits=1)
    caller.generate(cup)
    for request in (messages.GenerateRequest(task=cup), messages.SubmitRequest(task=cup)):
        method = type(request).__name__.removesuffix("Request")
        assert caller.refused(method, request) == (grpc.StatusCode.FAILED_PRECONDITION, "OUT_OF_CREDITS", None)
    keyed.file.top_up("poor", 1)
    caller.generate(cup)
    assert keyed.credits("poor") == 0


def test_a_task_costs_one_credit_however_many_prompts_it_has(keyed: KeyedServer, cup: mask_pb2.MaskTask) -> None:
    caller = keyed.caller("buyer", credits=9)
    caller.generate(mask_pb2.MaskTask(image=cup.image, prompts=["cup", "spoon", "table"]))
    assert keyed.credits("buyer") == 8
    stream = keyed.stub.GenerateStream(
        iter([messages.GenerateStreamRequest(task=cup)] * 3), metadata=(("x-api-key", caller.key),)
    )
    assert [frame.WhichOneof("outcome") for frame in stream] == ["response"] * 3
    assert keyed.credits("buyer") == 5


def test_failed_tasks_are_refunded(keyed: KeyedServer, cup: mask_pb2.MaskTask, broken: mask_pb2.MaskTask) -> None:
    caller = keyed.caller("unlucky", credits=1)
    assert caller.refused_task(broken)[1] == "INVALID_IMAGE"
    unknown = mask_pb2.MaskTask(image=cup.image, prompts=["unobtainium"])
    assert caller.refused_task(unknown)[1] == "UNKNOWN_PROMPT"
    empty = mask_pb2.MaskTask(
        image=cup.image, prompts=["giraffe"], parameters=mask_pb2.MaskParameters(stop_on_empty_mask=True)
    )
    assert caller.refused_task(empty)[1] == "EMPTY_MASK"
    assert keyed.credits("unlucky") == 1


@pytest.mark.usefixtures("stops_early")
def test_cancelled_and_later_failing_tasks_are_refunded(
    tmp_path: Path, cluster: RayCluster | None, endless: mask_pb2.MaskTask, broken: mask_pb2.MaskTask
) -> None:
    with closing(SqliteKeyStore(tmp_path / "keys.sqlite3", create=True)) as file:
        with (
            serving(tmp_path, cluster, keys=tmp_path / "keys.sqlite3", workers=1) as server,
            connect(server) as channel,
        ):
            keyed = KeyedServer(file, MaskServiceStub(channel))
            impatient, unlucky = keyed.caller("impatient", credits=4), keyed.caller("unlucky", credits=1)
            metadata = (("x-api-key", impatient.key),)
            with pytest.raises(grpc.RpcError, match="DEADLINE_EXCEEDED"):
                keyed.stub.Generate(messages.GenerateRequest(task=endless), timeout=0.3, metadata=metadata)
            frames = iter([messages.GenerateStreamRequest(task=endless)] * 3)
            with pytest.raises(grpc.RpcError, match="DEADLINE_EXCEEDED"):
                list(keyed.stub.GenerateStream(frames, timeout=0.3, metadata=metadata))
            running = impatient.submit(endless)
            with closing(sqlite3.connect(tmp_path / "requests.sqlite3", isolation_level=None)) as writer:
                writer.execute("BEGIN IMMEDIATE")  # nobody else can write meanwhile
                with pytest.raises(grpc.RpcError, match="DEADLINE_EXCEEDED"):
                    keyed.stub.Cancel(messages.CancelRequest(request_id=running), timeout=0.3, metadata=metadata)
                writer.execute("ROLLBACK")
            # The server may not even have had that call: on a busy machine, its caller gave up before.
            impatient("Cancel", messages.CancelRequest(request_id=running))
            assert impatient.end_of(running) == messages.REQUEST_STATE_CANCELLED
            assert unlucky.end_of(unlucky.submit(broken)) == messages.REQUEST_STATE_FAILED
        assert (keyed.credits("impatient"), keyed.credits("unlucky")) == (4, 1)


@pytest.mark.usefixtures("stops_early")
def test_one_key_cannot_fill_the_queue(
    tmp_path: Path, cluster: RayCluster | None, endless: mask_pb2.MaskTask, cup: mask_pb2.MaskTask
) -> None:
    with (
        closing(SqliteKeyStore(tmp_path / "keys.sqlite3", create=True)) as file,
        serving(tmp_path, cluster, keys=tmp_path / "keys.sqlite3", workers=1, max_queue=2) as server,
        connect(server) as channel,
    ):
        keyed = KeyedServer(file, MaskServiceStub(channel))
        greedy, other = keyed.caller("greedy"), keyed.caller("other")
        running = [greedy.submit(endless) for _ in range(2)]
        for one in running:
            statuses = greedy("WatchStatus", messages.WatchStatusRequest(request_id=one))
            next(one for one in statuses if one.status.state == messages.REQUEST_STATE_PROCESSING)
        waiting = greedy.submit(cup)
        full = greedy.refused("Submit", messages.SubmitRequest(task=cup))
        assert full == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", 1.0)
        of_other = other.submit(cup)
        for one in running:
            greedy("Cancel", messages.CancelRequest(request_id=one))
        assert other.end_of(of_other) == greedy.end_of(waiting) == messages.REQUEST_STATE_COMPLETED


@pytest.mark.parametrize("is_taken", [False, True])
def test_a_credit_is_refunded_however_often_its_caller_is_cancelled(tmp_path: Path, is_taken: bool) -> None:
    async def go(access: Access, key: Key, writer: sqlite3.Connection) -> None:
        if is_taken:
            await access.authorize(key, "default")
        writer.execute("BEGIN IMMEDIATE")  # nobody else can write meanwhile
        moving = asyncio.create_task(access.refund(key.name) if is_taken else access.authorize(key, "default"))
        for _ in range(3):
            await asyncio.sleep(0)
            moving.cancel()
        writer.execute("ROLLBACK")
        with pytest.raises(asyncio.CancelledError):
            await moving

    path = tmp_path / "keys.sqlite3"
    with (
        closing(SqliteKeyStore(path, create=True)) as file,
        closing(sqlite3.connect(path, isolation_level=None)) as writer,
    ):
        key = file.authenticate(file.add("impatient", credits=1))
        asyncio.run(go(Access(file), key, writer))
        assert file.credits("impatient") == 1


def test_a_request_costs_one_credit_and_its_replay_none(keyed: KeyedServer, cup: mask_pb2.MaskTask) -> None:
    caller = keyed.caller("careful", credits=3)
    first = caller.submit(cup, idempotency_key="once")
    assert caller.submit(cup, idempotency_key="once") == first
    assert caller.end_of(first) == messages.REQUEST_STATE_COMPLETED
    assert caller.submit(cup, idempotency_key="once") == first
    assert keyed.credits("careful") == 2


def test_a_replay_with_the_last_credit_spent_is_answered(keyed: KeyedServer, cup: mask_pb2.MaskTask) -> None:
    caller = keyed.caller("last-penny", credits=1)
    first = caller.submit(cup, idempotency_key="once")
    assert caller.submit(cup, idempotency_key="once") == first
    assert keyed.credits("last-penny") == 0


def test_an_idempotency_key_of_another_task_costs_nothing(keyed: KeyedServer, cup: mask_pb2.MaskTask) -> None:
    caller = keyed.caller("confused", credits=2)
    caller.submit(cup, idempotency_key="once")
    other = mask_pb2.MaskTask(image=cup.image, prompts=["spoon"])
    request = messages.SubmitRequest(task=other, idempotency_key="once")
    assert caller.refused("Submit", request)[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PARAMETER")
    assert keyed.credits("confused") == 1


def test_a_cancelled_request_is_refunded_once(
    keyed: KeyedServer, cup: mask_pb2.MaskTask, endless: mask_pb2.MaskTask
) -> None:
    caller = keyed.caller("fickle", credits=2)
    running, waiting = caller.submit(endless), caller.submit(cup)
    assert keyed.credits("fickle") == 0
    for request_id in (waiting, running):
        cancels = [
            keyed.stub.Cancel.future(
                messages.CancelRequest(request_id=request_id), metadata=(("x-api-key", caller.key),)
            )
            for _ in range(32)
        ]
        assert {call.result().status.state for call in cancels} == {messages.REQUEST_STATE_CANCELLED}
    assert keyed.credits("fickle") == 2


def test_a_key_does_not_see_the_requests_of_another(keyed: KeyedServer, cup: mask_pb2.MaskTask) -> None:
    mine, other = keyed.caller("mine"), keyed.caller("other")
    request_id = mine.submit(cup, idempotency_key="same")
    for method, request in (
        ("GetStatus", messages.GetStatusRequest(request_id=request_id)),
        ("GetResult", messages.GetResultRequest(request_id=request_id, wait=Duration(seconds=1))),
        ("Cancel", messages.CancelRequest(request_id=request_id)),
    ):
        assert other.refused(method, request) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", None)
    stream: Any = keyed.stub.WatchStatus(
        messages.WatchStatusRequest(request_id=request_id), metadata=(("x-api-key", other.key),)
    )
    with pytest.raises(grpc.RpcError):
        next(stream)
    assert stream.code() is grpc.StatusCode.NOT_FOUND
    assert mine.end_of(request_id) == messages.REQUEST_STATE_COMPLETED
    assert other.submit(cup, idempotency_key="same") != request_id


def test_a_removed_key_is_unauthenticated(keyed: KeyedServer, cup: mask_pb2.MaskTask) -> None:
    caller = keyed.caller("leaver")
    request_id = caller.submit(cup)
    caller.end_of(request_id)
    keyed.file.remove("leaver")
    assert caller.refused_task(cup)[0] is grpc.StatusCode.UNAUTHENTICATED
    request = messages.GetStatusRequest(request_id=request_id)
    assert caller.refused("GetStatus", request)[0] is grpc.StatusCode.UNAUTHENTICATED


def test_a_server_without_keys_accepts_calls_with_and_without_one(
    tmp_path: Path, cluster: RayCluster | None, cup: mask_pb2.MaskTask
) -> None:
    with serving(tmp_path, cluster) as server, connect(server) as channel:
        assert Caller(MaskServiceStub(channel), "anything").generate(cup).results
