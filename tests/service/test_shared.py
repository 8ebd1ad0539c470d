"""Several servers with one PostgreSQL database: they share requests, keys and rate limits."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

import automask
from automask.service.config.locations import PostgresUrl
from automask.service.keys.postgres import PostgresKeyStore
from automask.service.keys.protocol import KeyStore
from automask.service.keys.rate_limits import Rate
from automask.service.server import Server
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceStub
from support.postgres import Postgres
from support.server_process import ServerProcess
from support.threaded_server import CALL_TIMEOUT, serving, wait_until

QUEUED, PROCESSING, COMPLETED, CANCELLED = (
    messages.RequestState.Value(f"REQUEST_STATE_{name}") for name in ("QUEUED", "PROCESSING", "COMPLETED", "CANCELLED")
)


@dataclass
class Caller:
    """Someone with a key, at one of the servers."""

    stub: MaskServiceStub
    key: str

    def __call__(self, method: str, request: Any) -> Any:
        return getattr(self.stub, method)(request, metadata=(("x-api-key", self.key),), timeout=CALL_TIMEOUT)

    def submit(self, task: mask_pb2.MaskTask, key: str = "") -> str:
        request_id: str = self("Submit", messages.SubmitRequest(task=task, idempotency_key=key)).status.request_id
        return request_id

    def watch(self, request_id: str) -> Iterator[messages.RequestStatus]:
        return (one.status for one in self("WatchStatus", messages.WatchStatusRequest(request_id=request_id)))

    def wait_for(self, request_id: str, state: int, attempts: int = 1) -> None:
        next(one for one in self.watch(request_id) if (one.state, one.attempts) == (state, attempts))

    def result(self, request_id: str) -> messages.GetResultResponse:
        request = messages.GetResultRequest(request_id=request_id, wait=Duration(seconds=60))
        answer: messages.GetResultResponse = self("GetResult", request)
        return answer

    def status(self, request_id: str) -> messages.RequestStatus:
        found: messages.RequestStatus = self("GetStatus", messages.GetStatusRequest(request_id=request_id)).status
        return found

    def cancel(self, request_id: str) -> int:
        state: int = self("Cancel", messages.CancelRequest(request_id=request_id)).status.state
        return state


@dataclass
class Site:
    """Two servers and what they share."""

    stubs: tuple[MaskServiceStub, MaskServiceStub]
    keys: KeyStore
    settings: dict[str, str]

    def callers(self, **rights: Any) -> tuple[str, Caller, Caller]:
        name = uuid.uuid4().hex
        key = self.keys.add(name, **rights)
        return name, Caller(self.stubs[0], key), Caller(self.stubs[1], key)


@pytest.fixture(scope="module")
def url(postgres: Postgres) -> str:
    return postgres.create_database()


@contextmanager
def connected(server: Server | ServerProcess) -> Iterator[MaskServiceStub]:
    with grpc.insecure_channel(server.address) as channel:
        yield MaskServiceStub(channel)


@pytest.fixture(scope="module")
def site(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("media")
    with ExitStack() as stack:
        keys = stack.enter_context(closing(PostgresKeyStore(PostgresUrl(url))))
        settings = {"store": url, "keys": url, "media": str(folder), "media_from_kb": "20"}
        servers = [stack.enter_context(serving(folder, workers=1, **settings)) for _ in range(2)]
        one, other = (stack.enter_context(connected(server)) for server in servers)
        yield Site((one, other), keys, settings)


@pytest.fixture(scope="module")
def cup(jpeg: bytes) -> mask_pb2.MaskTask:
    return mask_pb2.MaskTask(image=mask_pb2.Image(encoded=jpeg), prompts=["cup"])


@pytest.fixture(scope="module")
def endless(segmenter: automask.Segmenter, other_jpeg: bytes) -> mask_pb2.MaskTask:
    """A task of a minute: 64 prompts at threshold 0, for which 1,270 masks are drawn, hundreds of them twice."""
    return mask_pb2.MaskTask(
        image=mask_pb2.Image(encoded=other_jpeg),
        prompts=segmenter.vocabulary[:64],
        parameters=mask_pb2.MaskParameters(threshold=0.0, edges=mask_pb2.EDGES_FINE),
    )


def test_a_request_to_one_server_is_watched_and_fetched_at_the_other(site: Site, cup: mask_pb2.MaskTask) -> None:
    name, one, other = site.callers(credits=10)
    for here, there in ((one, other), (other, one)):
        request_id = here.submit(cup)
        assert [one.state for one in there.watch(request_id)][-1] == COMPLETED
        done = there.result(request_id)
        assert done.status.attempts == 1
        assert done.response == here.result(request_id).response
    assert site.keys.credits(name) == 8


@pytest.mark.usefixtures("stops_early")
def test_a_request_running_on_one_server_is_cancelled_at_the_other_and_refunded_once(
    site: Site, cup: mask_pb2.MaskTask, endless: mask_pb2.MaskTask
) -> None:
    name, one, other = site.callers(credits=10)
    running = [one.submit(endless) for _ in range(4)]  # each server works on one, and has fetched one
    for request_id in running:
        other.wait_for(request_id, PROCESSING)
    waiting = one.submit(cup)
    changes = other.watch(waiting)
    assert next(changes).state == QUEUED
    assert site.keys.credits(name) == 5
    for request_id in running:
        assert {other.cancel(request_id), one.cancel(request_id)} == {CANCELLED}
    # Leases are renewed after ten seconds; that the workers are free long before is what NOTIFY is for.
    assert [one.state for one in changes][-1] == COMPLETED
    assert other.result(waiting).status.attempts == 1
    assert site.keys.credits(name) == 9


def test_one_idempotency_key_sent_to_both_servers_is_one_request_charged_once(
    site: Site, cup: mask_pb2.MaskTask
) -> None:
    name, one, other = site.callers(credits=10)
    ids = {caller.submit(cup, "same") for caller in (one, other, one, other)}
    assert len(ids) == 1
    assert one.result(ids.pop()).status.state == COMPLETED
    assert site.keys.credits(name) == 9


def test_both_servers_share_the_rate_limit_of_a_key(site: Site, cup: mask_pb2.MaskTask) -> None:
    _, one, other = site.callers(rate=Rate(3, "h"))
    for caller in (one, other, one):
        caller("Generate", messages.GenerateRequest(task=cup))
    with pytest.raises(grpc.RpcError, match=r"rate limit exceeded for key .*\(3/h\)"):
        other("Generate", messages.GenerateRequest(task=cup))


def test_a_restart_of_the_database_under_two_servers_loses_nothing(
    site: Site, postgres: Postgres, cup: mask_pb2.MaskTask, endless: mask_pb2.MaskTask
) -> None:
    name, one, other = site.callers(credits=10)
    running = one.submit(endless)
    watched = one.submit(cup)
    with postgres.stopped(), pytest.raises(grpc.RpcError) as caught:
        other.submit(cup)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "never-shown" not in str(caught.value)
    wait_until(lambda: answers(other, watched))
    assert other.cancel(running) == CANCELLED  # which may keep the only worker that the second one waits for
    assert one.result(watched).status.state == COMPLETED
    assert other.result(other.submit(cup)).status.state == COMPLETED
    assert site.keys.credits(name) == 8


def answers(caller: Caller, request_id: str) -> bool:
    try:
        return bool(caller.status(request_id))
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNAVAILABLE:
            return False
        raise


def test_the_requests_of_a_killed_server_are_done_by_the_other(
    url: str, site: Site, postgres: Postgres, endless: mask_pb2.MaskTask
) -> None:
    _, one, other = site.callers()
    busy = [one.submit(endless) for _ in range(4)]
    for request_id in busy:
        one.wait_for(request_id, PROCESSING)
    environment = {f"AUTOMASK_{name.upper()}": value for name, value in site.settings.items()}
    with ServerProcess("--port", 0, env=environment) as doomed:
        request_id = one.submit(endless)
        other.wait_for(request_id, PROCESSING)
        doomed.end(signal.SIGKILL)
        assert "never-shown" not in "".join(doomed.lines)
    for each in busy:
        one.cancel(each)
    # Nobody waits for the half minute of its lease: to the database, it is over.
    late = f"UPDATE automask.requests SET lease_until = 0 WHERE id = '{request_id}'"  # noqa: S608 (it is a number)
    postgres.execute(late, url.rpartition("/")[2])
    other.wait_for(request_id, PROCESSING, attempts=2)
    assert other.cancel(request_id) == CANCELLED
