"""The limit on bytes in flight: large bodies and messages are refused before they fill the memory."""

from __future__ import annotations

import base64
import json
import socket
from contextlib import closing
from itertools import repeat
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from automask.errors import ParameterError
from automask.service.config.settings import load_settings
from automask.service.core.inflight import InFlight
from automask.service.errors import QueueFullError
from automask.service.keys.sqlite import SqliteKeyStore
from automask.service.server import Server
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceStub
from support.threaded_server import rich_status, serving, wait_until

V1 = "/v1/automatic-mask-generator"
LIMITS: dict[str, Any] = {"max_image_mb": 2, "max_inflight_mb": 38, "http_timeout": "1h"}


def test_large_bodies_leave_a_quarter_to_small_ones() -> None:
    total = InFlight(8_000_000)
    with total.call() as large, total.call() as other, total.call() as small:
        large.add(6_000_000)
        with pytest.raises(QueueFullError, match=r"holds 6 MB .* of at most 8 MB \(`automask serve --max-inflight-mb`"):
            other.add(1_500_000)
        small.add(900_000)
        assert total.used == 6_900_000
    assert total.used == 0


def test_a_limit_below_two_messages_is_rejected() -> None:
    with pytest.raises(ParameterError, match="max_inflight_mb must be at least 98 MB, twice the largest message"):
        load_settings(max_inflight_mb=97)
    assert load_settings(workers=4).max_inflight_bytes == 8 * load_settings().max_message_bytes
    assert load_settings(max_image_mb=1).max_inflight_bytes == 256_000_000


def head(size: int, key: str = "") -> bytes:
    return (
        f"POST {V1} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"x-api-key: {key}\r\ncontent-length: {size}\r\n\r\n"
    ).encode()


def connect_to(server: Server) -> socket.socket:
    host, _, port = server.http_address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=60)


def fill(server: Server, sent: list[socket.socket]) -> None:
    """Send large bodies without their ends, until no further one would be accepted."""
    in_flight = server._components.in_flight
    for _ in range(11):
        before, connection = in_flight.used, connect_to(server)
        sent.append(connection)
        connection.sendall(head(2_500_000) + b" " * 2_420_000)
        wait_until(lambda: in_flight.used >= before + 2_420_000)  # noqa: B023 (it ends in this pass)


def test_a_body_is_refused_before_it_is_read_and_small_ones_are_not(tmp_path: Path, jpeg: bytes) -> None:
    body = json.dumps({"image": base64.b64encode(jpeg).decode(), "prompt": "cup"})
    sent: list[socket.socket] = []
    with serving(tmp_path, http_port=0, **LIMITS) as server:
        fill(server, sent)
        with connect_to(server) as late:
            late.sendall(head(2_500_000))  # and nothing of the body
            response = b"".join(iter(lambda: late.recv(4096), b""))
        small = httpx.post(f"http://{server.http_address}{V1}", content=body, timeout=60)
        for connection in sent:
            connection.close()
        wait_until(lambda: server._components.in_flight.used == 0)
    assert response.startswith(b"HTTP/1.1 429 ")
    assert b"\r\nretry-after: 1\r\n" in response
    assert b'"reason":"QUEUE_FULL"' in response
    assert small.status_code == 200


def test_without_its_key_a_body_is_not_read(tmp_path: Path) -> None:
    with closing(SqliteKeyStore(tmp_path / "keys", create=True)) as keys:
        keys.add("camera")
    with serving(tmp_path, http_port=0, keys=tmp_path / "keys") as server, connect_to(server) as stranger:
        stranger.sendall(head(30_000_000))
        assert stranger.recv(4096).startswith(b"HTTP/1.1 401 ")
        assert server._components.in_flight.used == 0


def test_a_message_is_refused_with_the_same_error(tmp_path: Path) -> None:
    sent: list[socket.socket] = []
    task = mask_pb2.MaskTask(image=mask_pb2.Image(encoded=bytes(1_900_000)), prompts=["cup"])
    with serving(tmp_path, http_port=0, **LIMITS) as server:
        fill(server, sent)
        with grpc.insecure_channel(server.address) as channel:
            stub = MaskServiceStub(channel)
            with pytest.raises(grpc.RpcError) as caught:
                stub.Generate(messages.GenerateRequest(task=task))
            (frame,) = stub.GenerateStream(iter([messages.GenerateStreamRequest(task=task)]))
            stub.ListModels(messages.ListModelsRequest())
        for connection in sent:
            connection.close()
    status = rich_status(caught.value)
    assert status.code == frame.error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert "--max-inflight-mb" in status.message


def test_a_stream_that_is_not_read_to_its_end_holds_nothing(tmp_path: Path, jpeg: bytes) -> None:
    task = mask_pb2.MaskTask(image=mask_pb2.Image(encoded=jpeg), prompts=["cup"])
    with serving(tmp_path) as server, grpc.insecure_channel(server.address) as channel:
        in_flight = server._components.in_flight
        frames = MaskServiceStub(channel).GenerateStream(repeat(messages.GenerateStreamRequest(task=task)))
        assert next(frames).response.results
        wait_until(lambda: in_flight.used > len(jpeg) / 100)
        frames.cancel()
        wait_until(lambda: in_flight.used == 0)
