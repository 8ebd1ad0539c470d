"""`automask serve`: start, refusals, sockets, TLS, drain."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import ssl
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
import trustme
from click.testing import CliRunner
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc

from automask.cli import main
from automask.service.config.settings import Settings, load_settings
from automask.service.keys.sqlite import SqliteKeyStore
from automask.service.server import Server
from automask.service.states import State
from automask.service.store.policy import StorePolicy
from automask.service.store.sqlite.store import SqliteStore
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceStub
from support.gates import gated_command
from support.server_process import ServerProcess
from support.stores import encode_error
from support.threaded_server import rich_status, serving, wait_until

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
# What must not keep the server from ending; a test that breaks this never ends.
FOREVER = ("--drain", "1h")


@pytest.fixture(scope="module")
def cup(jpeg: bytes) -> mask_pb2.MaskTask:
    return mask_pb2.MaskTask(image=mask_pb2.Image(encoded=jpeg), prompts=["cup"])


@pytest.fixture(scope="module")
def other(other_jpeg: bytes) -> mask_pb2.MaskTask:
    """A task that shares no pass with `cup`."""
    return mask_pb2.MaskTask(image=mask_pb2.Image(encoded=other_jpeg), prompts=["cup", "spoon"])


def generate(channel: grpc.Channel, task: mask_pb2.MaskTask, **more: Any) -> mask_pb2.MaskResponse:
    return MaskServiceStub(channel).Generate(messages.GenerateRequest(task=task), **more).response


def health(channel: Any) -> Any:
    """A stub, of which the stubs for mypy know no methods."""
    return health_pb2_grpc.HealthStub(channel)


def health_of(channel: grpc.Channel) -> int:
    status: int = health(channel).Check(health_pb2.HealthCheckRequest()).status
    return status


def start(*options: object) -> subprocess.CompletedProcess[str]:
    """Start what will not serve."""
    command = [sys.executable, "-W", "error", "-m", "automask", "serve", "--log-json", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def only_error(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that is said beside the log."""
    (line,) = (line for line in done.stderr.splitlines() if not line.startswith("{"))
    return line


def test_help_lists_every_setting_with_its_default() -> None:
    done = CliRunner().invoke(main, ["serve", "--help"], terminal_width=200)
    assert done.exit_code == 0
    text = " ".join(done.output.split())
    for name, field in Settings.model_fields.items():
        if name == "ray":  # a table of the file
            continue
        assert f"--{name.replace('_', '-')} " in text
        assert field.description is not None
        assert field.description in text
    for default in ("127.0.0.1", "50051", "[default: 0]", "[default: 1h]", "[default: 30s]", "[default: default]"):
        assert default in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "nope"], "no bundle 'nope': give a folder"),
        (["--keys", "{folder}/none"], "no key file {folder}/none; create it with `automask keys add NAME"),
        (["--store", "{folder}/text"], "the request store {folder}/text"),
        (["--config", "{folder}/none.toml"], "[Errno 2] No such file or directory: '{folder}/none.toml'"),
        (["--uds", "{folder}/text"], "cannot listen on {folder}/text: the file exists and is not a socket"),
        (["--uds", "{folder}/no/folder"], "cannot listen on {folder}/no/folder: there is no folder"),
        (["--tls-cert", "{folder}/text", "--tls-key", "{folder}/text"], "tls_cert and tls_key must be a certificate"),
        (["--tls-cert", "{folder}/none", "--tls-key", "{folder}/text"], "[Errno 2] No such file or directory: '"),
    ],
)
def test_a_failed_start_is_one_line_and_exit_status_1(options: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("This is a text.")
    done = start("--port", 0, "--store", tmp_path / "s", *(option.format(folder=tmp_path) for option in options))
    assert done.returncode == 1, done.stderr
    assert only_error(done).startswith(f"automask: error: {message.format(folder=tmp_path)}")
    assert (tmp_path / "text").read_text() == "This is a text."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--port", "eighty"], "port must be a valid integer"),
        (["--bogus"], "No such option '--bogus'"),
        (["--host", "192.168.1.5"], "host must be a loopback address unless keys, tls_cert and tls_key are set"),
        (["--tls-cert", "c.pem"], "tls_cert and tls_key must be set together"),
        (["--model", ""], "model must not be empty, got ''"),
    ],
)
def test_wrong_usage_is_exit_status_2(options: list[str], message: str) -> None:
    done = CliRunner().invoke(main, ["serve", *options])
    assert done.exit_code == 2
    assert f"Error: {message}" in done.stderr


def test_addresses_in_use_are_refused(tmp_path: Path) -> None:
    with serving(tmp_path, uds=tmp_path / "socket") as server, grpc.insecure_channel(server.address) as channel:
        port = server.address.rpartition(":")[2]
        taken = f"automask: error: cannot listen on 127.0.0.1:{port}"
        for options, message in (
            (["--port", port], f"{taken}: Address already in use"),
            (["--port", 0, "--metrics-port", port], f"{taken} for metrics: Address already in use"),
            (
                ["--port", 0, "--uds", tmp_path / "socket"],
                f"automask: error: cannot listen on {tmp_path}/socket: another server",
            ),
        ):
            done = start("--store", tmp_path / "other", *options)
            assert (done.returncode, only_error(done)[: len(message)]) == (1, message)
        assert health_of(channel) == SERVING
        with grpc.insecure_channel(f"unix:{tmp_path}/socket") as through_socket:
            assert health_of(through_socket) == SERVING, "the socket is still the first one's"


def test_a_loading_server_listens_and_refuses_calls(tmp_path: Path, cup: mask_pb2.MaskTask) -> None:
    async def go() -> None:
        server = Server(load_settings(port=0, store=tmp_path / "store", device="cpu"))
        await server.start()
        async with grpc.aio.insecure_channel(server.address) as channel:
            masks = MaskServiceStub(channel)
            for service in ("", "automask.v1.MaskService"):
                request = health_pb2.HealthCheckRequest(service=service)
                assert (await health(channel).Check(request)).status == NOT_SERVING
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await masks.Generate(messages.GenerateRequest(task=cup))
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert caught.value.details() == "the server is loading its models"
            assert retry_delay(caught.value) == 1.0
            await server.load()
            assert (await health(channel).Check(request)).status == SERVING
            assert (await masks.Generate(messages.GenerateRequest(task=cup))).response.results
        await server.stop()

    asyncio.run(go())


def retry_delay(error: grpc.aio.AioRpcError) -> float:
    metadata: dict[str, Any] = dict(error.trailing_metadata())
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in Status.FromString(metadata["grpc-status-details-bin"]).details)
    delay: float = retry.retry_delay.ToNanoseconds() / 1e9
    return delay


def test_a_server_that_never_loaded_stops(tmp_path: Path) -> None:
    async def go() -> None:
        server = Server(load_settings(port=0, store=tmp_path / "store"))
        await server.start()
        await server.stop()

    asyncio.run(go())


def test_a_signal_ends_a_loading_server(tmp_path: Path) -> None:
    models = ["--model", "default", "--model", "default"]
    options = ["--log-json", "--port", "0", "--store", str(tmp_path / "s"), *models]
    gate = tmp_path / "gate"
    gate.touch()  # the first model is not loaded before it is gone
    with subprocess.Popen([*gated_command(gate), "serve", *options], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        events = [json.loads(next(process.stderr))["event"]]
        process.send_signal(signal.SIGTERM)
        while events[-1] != "stopped":
            events.append(json.loads(next(process.stderr))["event"])
        gate.unlink()
        events += [json.loads(line)["event"] for line in process.stderr]
    assert process.returncode == 0
    assert events.count("model") < 2, "it does not load them all first"
    assert [event for event in events if event != "model"] == ["loading", "draining", "stopped"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_stops_at_once_and_updates_its_health(number: signal.Signals, tmp_path: Path) -> None:
    with ServerProcess("--port", 0, "--store", tmp_path / "s", *FOREVER) as process:
        with grpc.insecure_channel(process.address) as channel:
            watched = health(channel).Watch(health_pb2.HealthCheckRequest())
            assert next(watched).status == SERVING
            assert process.end(number) == 0
            assert next(watched).status == NOT_SERVING
        assert [event["event"] for event in process.events][-2:] == ["draining", "stopped"]


def test_a_draining_server_finishes_running_calls_and_keeps_queued_requests(
    tmp_path: Path, cup: mask_pb2.MaskTask, other: mask_pb2.MaskTask
) -> None:
    # Not in another process: an image that counts as slow there lets the worker go on with others.
    (tmp_path / "automask.toml").write_text("workers = 1\nmetrics_port = 0\ndecode_processes = 0\n")
    options, gate = ("--port", 0, "--store", tmp_path / "store"), tmp_path / "gate"
    config = {"AUTOMASK_CONFIG": str(tmp_path / "automask.toml")}
    with (
        ServerProcess(*options, *FOREVER, env=config, gate=gate) as process,
        grpc.insecure_channel(process.address) as channel,
    ):
        gate.touch()
        stub = MaskServiceStub(channel)
        running = stub.Generate.future(messages.GenerateRequest(task=other))
        wait_until(lambda: "automask_batch_size_count 1.0" in metrics_of(process))
        ids = [stub.Submit(messages.SubmitRequest(task=cup)).status.request_id for _ in range(6)]
        watched = stub.WatchStatus(messages.WatchStatusRequest(request_id=ids[-1]))
        assert next(watched).status.state == messages.REQUEST_STATE_QUEUED
        awaited = stub.GetResult.future(messages.GetResultRequest(request_id=ids[-1], wait=Duration(seconds=60)))
        os.kill(process.pid, signal.SIGTERM)
        process.wait_for("draining")
        gate.unlink()
        assert process.wait() == 0
        assert len(running.result().response.results) == 2
        for waiting in (lambda: list(watched), awaited.result):
            with pytest.raises(grpc.RpcError, match="UNAVAILABLE"):
                waiting()
    with SqliteStore(tmp_path / "store", StorePolicy(encode_error=encode_error)) as store:
        states = [store.get(request_id, "").state for request_id in ids]
        assert states[2:] == [State.QUEUED] * 4, "one is worked on, and one is fetched while it is"
        assert {*states[:2]} <= {State.QUEUED, State.COMPLETED}
        assert [store.get(request_id, "").attempts for request_id in ids[2:]] == [0] * 4
    with ServerProcess(*options) as process, grpc.insecure_channel(process.address) as channel:
        for request_id in ids:
            request = messages.GetResultRequest(request_id=request_id, wait=Duration(seconds=60))
            assert MaskServiceStub(channel).GetResult(request).response.results[0].media


def test_a_draining_server_refuses_calls_with_a_time_to_retry(
    tmp_path: Path, cup: mask_pb2.MaskTask, other: mask_pb2.MaskTask
) -> None:
    options, gate = ("--port", 0, "--store", tmp_path / "store", "--metrics-port", 0), tmp_path / "gate"
    with ServerProcess(*options, *FOREVER, gate=gate) as process, grpc.insecure_channel(process.address) as channel:
        gate.touch()
        running = MaskServiceStub(channel).Generate.future(messages.GenerateRequest(task=other))
        wait_until(lambda: "automask_batch_size_count 1.0" in metrics_of(process))
        os.kill(process.pid, signal.SIGTERM)
        process.wait_for("draining")
        with grpc.insecure_channel(process.address) as late, pytest.raises(grpc.RpcError) as caught:
            generate(late, cup)
        status = rich_status(caught.value)
        assert status.code == grpc.StatusCode.UNAVAILABLE.value[0]
        assert any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)
        gate.unlink()
        assert len(running.result().response.results) == 2


def metrics_of(process: ServerProcess, tls: ssl.SSLContext | None = None) -> str:
    """What Prometheus would read."""
    address = process.wait_for("serving")["metrics"].replace("0.0.0.0", "127.0.0.1")  # noqa: S104
    return httpx.get(f"{'https' if tls else 'http'}://{address}/metrics", verify=tls or False, timeout=60).text


def test_a_unix_socket_is_private_and_replaces_that_of_a_killed_server(tmp_path: Path, cup: mask_pb2.MaskTask) -> None:
    socket = tmp_path / "automask.sock"
    options = ("--port", 0, "--store", tmp_path / "s", "--uds", socket)
    for _ in range(2):  # the second one finds what the first one left
        with ServerProcess(*options) as process, grpc.insecure_channel(f"unix:{socket}") as channel:
            assert stat.S_IMODE(socket.stat().st_mode) == 0o600
            assert generate(channel, cup).results
            assert process.end(signal.SIGKILL) == -signal.SIGKILL
        assert socket.is_socket()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def pem(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pem")
    paths = {"tls_cert": folder / "cert.pem", "tls_key": folder / "key.pem", "client_ca": folder / "ca.pem"}
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    for part in certificate.cert_chain_pems:
        part.write_to_path(paths["tls_cert"], append=True)
    certificate.private_key_pem.write_to_path(paths["tls_key"])
    authority.cert_pem.write_to_path(paths["client_ca"])
    return paths


def trusting(authority: trustme.CA, **own: bytes) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(authority.cert_pem.bytes(), **own)


def refused(address: str, credentials: grpc.ChannelCredentials | None, task: mask_pb2.MaskTask) -> None:
    """Nobody gets as far as a call."""
    channel = grpc.insecure_channel(address) if credentials is None else grpc.secure_channel(address, credentials)
    with channel, pytest.raises(grpc.RpcError, match="UNAVAILABLE"):
        generate(channel, task)


def test_tls_requires_a_client_that_trusts_the_authority(
    tmp_path: Path, authority: trustme.CA, pem: dict[str, Path], cup: mask_pb2.MaskTask
) -> None:
    with serving(tmp_path, tls_cert=pem["tls_cert"], tls_key=pem["tls_key"]) as server:
        with grpc.secure_channel(server.address, trusting(authority)) as channel:
            assert generate(channel, cup).results
        refused(server.address, None, cup)
        refused(server.address, trusting(trustme.CA()), cup)


def test_a_client_ca_requires_a_certificate_of_it(
    tmp_path: Path, authority: trustme.CA, pem: dict[str, Path], cup: mask_pb2.MaskTask
) -> None:
    def own(issuer: trustme.CA) -> dict[str, bytes]:
        certificate = issuer.issue_cert("client.example")
        return {
            "private_key": certificate.private_key_pem.bytes(),
            "certificate_chain": certificate.cert_chain_pems[0].bytes(),
        }

    with serving(tmp_path, **pem) as server:
        with grpc.secure_channel(server.address, trusting(authority, **own(authority))) as channel:
            assert generate(channel, cup).results
        refused(server.address, trusting(authority), cup)
        refused(server.address, trusting(authority, **own(trustme.CA())), cup)


def test_listening_on_the_network_with_keys_and_tls_works_as_in_the_help(
    tmp_path: Path, authority: trustme.CA, pem: dict[str, Path], cup: mask_pb2.MaskTask
) -> None:
    added = CliRunner().invoke(main, ["keys", "add", "camera", "--keys", str(tmp_path / "keys")])
    key = added.stdout.strip()
    tls = ("--tls-cert", pem["tls_cert"], "--tls-key", pem["tls_key"])
    options = ("--host", "0.0.0.0", "--port", 0, "--store", tmp_path / "s", "--keys", tmp_path / "keys")  # noqa: S104
    with ServerProcess(*options, *tls, "--metrics-port", 0) as process:
        assert re.fullmatch(r"0\.0\.0\.0:\d+", process.address)
        address = process.address.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        with grpc.secure_channel(address, trusting(authority)) as channel:
            assert health_of(channel) == SERVING, "health needs no key"
            assert generate(channel, cup, metadata=(("x-api-key", key),)).results
            with pytest.raises(grpc.RpcError, match="UNAUTHENTICATED"):
                generate(channel, cup)
        trusted = ssl.create_default_context()
        authority.configure_trust(trusted)
        assert 'automask_calls_total{code="OK",method="Generate"} 1.0' in metrics_of(process, trusted)
        assert process.end() == 0
        assert key not in "".join(process.lines)
    with closing(SqliteKeyStore(tmp_path / "keys")) as file:
        assert file.authenticate(key).name == "camera"
