"""The HTTP server: proxies, slow and disconnecting clients, logs, start and shutdown."""

from __future__ import annotations

import base64
import gc
import json
import socket
import subprocess
import sys
import weakref
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any

import grpc
import httpx
import pytest

import automask
from automask.service.keys.sqlite import SqliteKeyStore
from automask.service.server import Server
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceStub
from support.gates import gated_command
from support.server_process import ServerProcess
from support.threaded_server import pending_tasks, serving, wait_until

V1, V2 = "/v1/automatic-mask-generator", "/v2/automatic-mask-generator"


@pytest.fixture(scope="module")
def image(jpeg: bytes) -> str:
    return base64.b64encode(jpeg).decode()


def test_only_trusted_proxies_may_set_forwarded_headers(tmp_path: Path, image: str) -> None:
    forwarded = {
        "x-forwarded-host": "api.example:8443",
        "x-forwarded-proto": "https",
        "x-forwarded-prefix": "/masks/",
        "x-forwarded-for": "203.0.113.5",
    }
    with (
        serving(tmp_path / "a", http_port=0, trusted_proxies="127.0.0.0/8") as trusting,
        serving(tmp_path / "b", http_port=0, trusted_proxies="10.0.0.0/8") as wary,
        serving(tmp_path / "c", http_port=0, public_url="https://masks.example/ai/") as named,
        httpx.Client(timeout=60) as http,
    ):
        body = {"image": image, "prompt": "cup"}

        def base(address: str, headers: dict[str, str]) -> str:
            response = http.post(f"http://{address}{V2}", json=body, headers=headers).json()
            return str(response["status_url"]).partition("/v2/")[0]

        assert base(trusting.http_address, forwarded) == "https://api.example:8443/masks"
        assert base(wary.http_address, forwarded) == f"http://{wary.http_address}"
        assert base(named.http_address, forwarded) == "https://masks.example/ai"
        assert base(trusting.http_address, {}) == f"http://{trusting.http_address}"
        for wrong in (
            {"x-forwarded-host": "evil.example/path?"},
            {"x-forwarded-prefix": "//evil.example"},
            {"x-forwarded-prefix": "no/slash"},
            {"x-forwarded-proto": "javascript"},
        ):
            assert base(trusting.http_address, wrong) == f"http://{trusting.http_address}"


@pytest.fixture(scope="module")
def slow(segmenter: automask.Segmenter, other_jpeg: bytes) -> messages.GenerateRequest:
    """A request that keeps a worker busy for half a minute."""
    task = mask_pb2.MaskTask(
        image=mask_pb2.Image(encoded=other_jpeg),
        prompts=segmenter.vocabulary[:64],
        parameters=mask_pb2.MaskParameters(threshold=0),
    )
    return messages.GenerateRequest(task=task)


def keep_busy(server: Server, channel: grpc.Channel, keys: SqliteKeyStore, slow: messages.GenerateRequest) -> Any:
    """Send the slow request and return once it is running."""
    metadata = (("x-api-key", keys.add("busy", credits=1)),)
    call = MaskServiceStub(channel).Generate.future(slow, metadata=metadata)
    wait_until(lambda: pending_tasks(server) == 1)
    assert keys.credits("busy") == 0
    return call


def test_a_timeout_is_a_504_and_refunds_its_credit(tmp_path: Path, image: str, slow: messages.GenerateRequest) -> None:
    with (
        closing(SqliteKeyStore(tmp_path / "keys", create=True)) as keys,
        serving(tmp_path, http_port=0, http_timeout="500ms", workers=1, keys=tmp_path / "keys") as server,
        httpx.Client(base_url=f"http://{server.http_address}", timeout=60) as http,
        grpc.insecure_channel(server.address) as channel,
    ):
        busy = keep_busy(server, channel, keys, slow)
        key = {"x-api-key": keys.add("late", credits=1)}
        late = http.post(V1, json={"image": image, "prompt": "cup"}, headers=key)
        assert (late.status_code, late.json()["error"]) == (
            504,
            "not finished within 0.5 s (`automask serve --http-timeout`)",
        )
        busy.cancel()
        assert keys.credits("late") == 1
        host, _, port = server.http_address.rpartition(":")
        with socket.create_connection((host, int(port))) as loris:
            loris.sendall(f"POST {V1} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key['x-api-key']}\r\n".encode())
            loris.sendall(b"content-length: 1000\r\n\r\n{")
            assert b" 504 " in loris.recv(4096)


@pytest.mark.parametrize("half", ["", "GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-a: "])
def test_an_incomplete_request_is_closed(tmp_path: Path, half: str) -> None:
    with serving(tmp_path, http_port=0, http_timeout="500ms") as server:
        host, _, port = server.http_address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=60) as loris:
            loris.sendall(f"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n{half}".encode())
            response = b""
            while part := loris.recv(4096):
                response += part
        assert response.count(b"HTTP/1.1 200 ") == 1


def test_a_disconnect_cancels_the_work(tmp_path: Path, image: str, slow: messages.GenerateRequest) -> None:
    with (
        closing(SqliteKeyStore(tmp_path / "keys", create=True)) as keys,
        serving(tmp_path, http_port=0, workers=1, keys=tmp_path / "keys") as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        busy = keep_busy(server, channel, keys, slow)
        key = keys.add("gone", credits=1)
        body = json.dumps({"image": image, "prompt": "cup"}).encode()
        host, _, port = server.http_address.rpartition(":")
        with socket.create_connection((host, int(port))) as leaver:
            leaver.sendall(
                f"POST {V1} HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            )
            leaver.sendall(body)
            wait_until(lambda: keys.credits("gone") == 0)
        wait_until(lambda: keys.credits("gone") == 1)
        busy.cancel()


def test_the_log_has_each_call_once_without_its_key_or_photo(tmp_path: Path, image: str) -> None:
    with closing(SqliteKeyStore(tmp_path / "keys", create=True)) as keys:
        key = keys.add("camera")
    options = (
        "--port",
        0,
        "--http-port",
        0,
        "--metrics-port",
        0,
        "--store",
        tmp_path / "s",
        "--keys",
        tmp_path / "keys",
    )
    with ServerProcess(*options, "--log-level", "debug") as process:
        address = process.http_address
        with httpx.Client(base_url=f"http://{address}", headers={"x-api-key": key}, timeout=60) as http:
            responses = [
                http.post(V1, json={"image": image, "prompt": "cup"}),
                http.post(V1, json={"image": image, "prompt": "cup", "threshold": 7}),
                http.get("/v2/requests/unknown/status"),
                http.get("/nothing/at/all"),
                http.post(V1, json={}, headers={"x-api-key": "a-wrong-one"}),
            ]
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port))) as pipeline:
            first = f"GET /v2/requests/unknown HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\n\r\n"
            pipeline.sendall(f"{first}GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
            while pipeline.recv(4096):
                pass
        metrics = httpx.get(
            f"http://{next(e for e in process.events if e['event'] == 'serving')['metrics']}/metrics", timeout=60
        ).text
        assert process.end() == 0
    calls = [event for event in process.events if event["event"] == "call"]
    assert [call["request_id"] for call in calls[:-2]] == [response.headers["x-request-id"] for response in responses]
    assert [(call["method"], call["code"], call.get("key")) for call in calls] == [
        (f"POST {V1}", "OK", "camera"),
        (f"POST {V1}", "INVALID_ARGUMENT", "camera"),
        ("GET /v2/requests/{request_id}/status", "NOT_FOUND", "camera"),
        ("GET elsewhere", "NOT_FOUND", None),
        (f"POST {V1}", "UNAUTHENTICATED", None),
        ("GET /v2/requests/{request_id}", "NOT_FOUND", "camera"),
        ("GET /healthz", "OK", None),
    ]
    log = "".join(process.lines)
    assert key not in log
    assert "a-wrong-one" not in log
    assert image[100:200] not in log
    assert f'automask_calls_total{{code="OK",method="POST {V1}"}} 1.0' in metrics
    assert 'automask_calls_total{code="NOT_FOUND",method="GET elsewhere"} 1.0' in metrics


def test_draining_finishes_running_calls_and_rejects_new_ones(tmp_path: Path, image: str) -> None:
    options = ("--port", 0, "--http-port", 0, "--store", tmp_path / "s", "--workers", 1, "--drain", "1h")
    with ServerProcess(*options) as process:
        host, _, port = process.http_address.rpartition(":")
        body = json.dumps({"image": image, "prompt": "cup"}).encode()
        head = f"POST {V1} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        with (
            socket.create_connection((host, int(port))) as running,
            httpx.Client(base_url=f"http://{process.http_address}", timeout=60) as http,
        ):
            running.sendall(head + body[:-1])  # a call that cannot finish yet
            assert http.get("/healthz").status_code == 200
            ended: list[int] = []
            stopping = Thread(target=lambda: ended.append(process.end()))
            stopping.start()
            wait_until(lambda: http.get("/healthz").status_code != 200)
            response = http.get("/healthz")
            assert (response.status_code, response.json()["reason"]) == (502, "UNAVAILABLE")
            assert response.headers["retry-after"] == "1"
            # New connections as well, while a call is running.
            assert {http.get("/healthz", headers={"connection": "close"}).status_code for _ in range(200)} == {502}
            running.sendall(body[-1:])
            assert running.recv(4096).startswith(b"HTTP/1.1 200 "), "it was accepted before"
        stopping.join()
    assert ended == [0]


def test_a_call_that_outlasts_the_drain_gets_an_error(tmp_path: Path) -> None:
    options = ("--port", 0, "--http-port", 0, "--store", tmp_path / "s", "--drain", "100ms")
    with ServerProcess(*options) as process:
        host, _, port = process.http_address.rpartition(":")
        with (
            socket.create_connection((host, int(port))) as stuck,
            httpx.Client(base_url=f"http://{process.http_address}", timeout=60) as http,
        ):
            stuck.sendall(f"POST {V1} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n{{".encode())
            assert http.get("/healthz").status_code == 200
            assert process.end() == 0
            assert stuck.recv(4096).startswith(b"HTTP/1.1 502 ")
    assert not [event for event in process.events if event["level"] == "error"]


def test_calls_are_rejected_while_models_load(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()  # the model is not loaded before it is gone
    command = [*gated_command(gate), "serve", "--log-json", "--port", "0", "--http-port", "0"]
    with subprocess.Popen(
        [*command, "--store", str(tmp_path / "s"), "--device", "cpu"], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        address = json.loads(process.stderr.readline())["http"]
        early = httpx.get(f"http://{address}/healthz", timeout=60)
        gate.unlink()
        while json.loads(process.stderr.readline())["event"] != "serving":
            continue
        late = httpx.get(f"http://{address}/healthz", timeout=60)
        process.terminate()
        process.stderr.read()
    assert (early.status_code, early.headers["retry-after"]) == (502, "1")
    assert early.json()["error"] == "the server is loading its models"
    assert late.status_code == 200


def test_a_stopped_server_releases_its_models(tmp_path: Path) -> None:
    with serving(tmp_path, http_port=0) as server:
        assert server._engine is not None
        model = weakref.ref(server._engine.segmenter(""))
    gc.collect()
    assert model() is None


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "automask", "serve", "--port", "0", "--http-port", str(port)]
        done = subprocess.run([*command, "--store", str(tmp_path / "s")], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port} for HTTP: Address already in use" in done.stderr
