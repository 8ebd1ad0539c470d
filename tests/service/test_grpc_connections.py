"""gRPC connections whose client is dead or does not answer: each is closed, with plain sockets as clients."""

from __future__ import annotations

import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from automask import AutomaskError
from automask.service import Client
from automask.service import server as server_module
from automask.service.client import connections, retries
from automask.service.core.inflight import InFlight
from automask.service.rpc.listen import Keepalive, server_options
from automask.service.rpc.unsent import UnsentAnswers
from automask.v1 import mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceStub
from support.threaded_server import CALL_TIMEOUT, connect, serving, wait_until

SETTINGS, PING, GOAWAY, HEADERS, DATA = 4, 6, 7, 1, 0
ACK, END_STREAM, END_HEADERS = 1, 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int = 0, stream: int = 0, body: bytes = b"") -> bytes:
    return struct.pack(">L", len(body))[1:] + bytes([kind, flags]) + struct.pack(">L", stream) + body


def header(name: bytes, value: bytes) -> bytes:
    """A literal header field without indexing (RFC 7541, section 6.2.2)."""
    return bytes([0, len(name)]) + name + bytes([len(value)]) + value


def list_models() -> bytes:
    fields = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": b"/automask.v1.MaskService/ListModels",
        b":authority": b"localhost",
        b"content-type": b"application/grpc",
        b"te": b"trailers",
    }
    block = b"".join(header(name, value) for name, value in fields.items())
    return frame(HEADERS, END_HEADERS, 1, block) + frame(DATA, END_STREAM, 1, bytes(5))


GREETED = PREFACE + frame(SETTINGS) + frame(SETTINGS, ACK)
WITHOUT_WINDOW = PREFACE + frame(SETTINGS, body=struct.pack(">HL", 4, 0)) + frame(SETTINGS, ACK)

STRANGERS = {
    "sends nothing": b"",
    "stops in its greeting": PREFACE[:10],
    "sends no settings": PREFACE,
    "accepts no settings": PREFACE + frame(SETTINGS),
}
SILENT = {
    "answers no ping": GREETED,
    "leaves a call half sent": GREETED + list_models()[:-20],
    "makes no room for the answer": WITHOUT_WINDOW + list_models(),
}


def read_until_closed(connection: socket.socket) -> bytes:
    parts = []
    try:
        while part := connection.recv(65_536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def set_keepalive(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
    """Set times of the servers that start from now on; the others are long enough for any machine."""
    keepalive = Keepalive(**{"handshake": CALL_TIMEOUT, "quiet": 1.0, "answer": CALL_TIMEOUT, **seconds})
    monkeypatch.setattr(server_module, "server_options", lambda size: server_options(size, keepalive))


@pytest.mark.parametrize(("clients", "limited"), [(STRANGERS, "handshake"), (SILENT, "answer")])
def test_a_client_that_does_not_answer_is_closed_and_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clients: dict[str, bytes], limited: str
) -> None:
    set_keepalive(monkeypatch, **{limited: 1.0})
    with serving(tmp_path) as server, connect(server) as channel, ThreadPoolExecutor(len(clients)) as threads:
        host, _, port = server.address.rpartition(":")
        list_all = partial(MaskServiceStub(channel).ListModels, messages.ListModelsRequest(), wait_for_ready=True)
        assert list_all().models
        connections = {name: socket.create_connection((host, int(port)), CALL_TIMEOUT) for name in clients}
        for name, sent in clients.items():
            connections[name].sendall(sent)
        received = dict(zip(clients, threads.map(read_until_closed, connections.values()), strict=True))
        for connection in connections.values():
            connection.close()
        for name in clients.keys() & {"answers no ping", "makes no room for the answer"}:
            assert b"ping_timeout" in received[name]
        assert list_all().models


def test_a_client_that_reads_no_answer_is_closed_once_memory_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_flight = InFlight(8_000_000)
    unsent = UnsentAnswers(in_flight, seconds=0.1)
    monkeypatch.setattr(server_module, "UnsentAnswers", lambda _: unsent)
    with serving(tmp_path) as server, connect(server) as channel:
        watching = MaskServiceStub(channel)
        size = watching.ListModels(messages.ListModelsRequest()).ByteSize()
        wait_until(lambda: not unsent._connections)
        host, _, port = server.address.rpartition(":")
        with socket.create_connection((host, int(port)), CALL_TIMEOUT) as connection:
            connection.sendall(WITHOUT_WINDOW + list_models())
            wait_until(lambda: in_flight.used == size)
            (waiting,) = unsent._connections.values()
            for _ in range(3):
                looked = waiting.looked
                wait_until(lambda: waiting.looked > looked)  # noqa: B023 (it ends in this pass)
            assert in_flight.used == size
            in_flight.limit = size
            assert b"ping_timeout" not in read_until_closed(connection)
        wait_until(lambda: in_flight.used == 0)
        assert watching.ListModels(messages.ListModelsRequest()).models


def test_a_client_that_answers_pings_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_keepalive(monkeypatch)
    with serving(tmp_path) as server, connect(server) as channel:
        host, _, port = server.address.rpartition(":")
        with socket.create_connection((host, int(port)), CALL_TIMEOUT) as connection:
            connection.sendall(GREETED)
            stream = connection.makefile("rb")
            pings = 0
            while pings < 3:
                size, kind, flags = struct.unpack(">3sBBxxxx", stream.read(9))
                body = stream.read(int.from_bytes(size, "big"))
                assert kind != GOAWAY
                if kind == PING and not flags:
                    connection.sendall(frame(PING, ACK, body=body))
                    pings += 1
        assert MaskServiceStub(channel).ListModels(messages.ListModelsRequest()).models


def test_a_client_notices_a_dead_server(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {name: min(value, 1000) if "_ms" in name else value for name, value in connections._CHANNEL_OPTIONS}
    monkeypatch.setattr(connections, "_CHANNEL_OPTIONS", tuple(options.items()))
    monkeypatch.setattr(retries, "_JITTER", lambda _: 0.0)
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(2) as threads:

        def greet_and_die() -> None:
            with listener.accept()[0] as connection:
                connection.sendall(frame(SETTINGS) + frame(SETTINGS, ACK))
                read_until_closed(connection)

        dead = threads.submit(greet_and_die)
        with Client(f"127.0.0.1:{listener.getsockname()[1]}") as client:
            asking = threads.submit(client.job("none").status)
            dead.result(CALL_TIMEOUT)  # the connection was closed, although the client has not given up
            listener.close()
            with pytest.raises(AutomaskError):
                asking.result(CALL_TIMEOUT)
