"""A device that goes away while a server runs, and comes back or not; a cache folder that cannot be written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from numpy.typing import NDArray

import automask
from automask import recovery
from automask.devices import DEVICES, import_onnxruntime
from automask.service import Client
from automask.service.core import back_off
from automask.service.core.back_off import BackOff
from automask.service.server import SERVICE
from automask.service.states import State
from automask.service.wire.status import to_error
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceStub
from support.threaded_server import CALL_TIMEOUT, connect, rich_status, serving, wait_until

FAULT = "CUDA failure 700: an illegal memory access was encountered\nmore"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
NAME = "openvino"  # any name that settings take


class Chip:
    """A device: the real provider of the CPU under another name.

    A session that is open while the device is gone fails for ever, as those of a GPU do; another one can be opened
    when the device is back.
    """

    def __init__(self) -> None:
        self.is_gone, self.is_mute, self.fails_once = Event(), Event(), Event()
        self.is_next, self.opened = False, 0

    def prepare(self, _ort: ModuleType) -> None:
        """Called before a session is opened on this device."""
        self.is_next = True

    def open(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ort, chip = import_onnxruntime(), self

        class Fragile(ort.InferenceSession):  # type: ignore[misc, name-defined]
            def __init__(self, *arguments: Any, **options: Any) -> None:
                self.is_on_chip, self.is_dead = chip.is_next, False
                chip.is_next = False
                chip.opened += self.is_on_chip
                self.fail()
                super().__init__(*arguments, **options)

            def run(self, *arguments: Any) -> Any:
                self.fail()
                if self.is_on_chip and chip.is_mute.is_set():
                    raise RuntimeError(FAULT)
                if self.is_on_chip and chip.fails_once.is_set():
                    chip.fails_once.clear()
                    raise RuntimeError("CUDA out of memory")
                return super().run(*arguments)

            def run_with_iobinding(self, *arguments: Any) -> None:
                self.fail()
                super().run_with_iobinding(*arguments)

            def fail(self) -> None:
                self.is_dead |= self.is_on_chip and chip.is_gone.is_set()
                if self.is_dead:
                    raise RuntimeError(FAULT)

        monkeypatch.setattr(ort, "InferenceSession", Fragile)


@pytest.fixture
def chip(monkeypatch: pytest.MonkeyPatch) -> Chip:
    made = Chip()
    row = replace(
        DEVICES["cpu"],
        name=NAME,
        identify=lambda: "a chip",
        precisions=("fp32",),
        prepare=made.prepare,
    )
    monkeypatch.setitem(DEVICES, NAME, row)
    monkeypatch.setitem(DEVICES, "cuda", replace(DEVICES["cuda"], probe=lambda: "it is not here"))
    monkeypatch.setattr(recovery, "_PAUSE", 0.0)
    monkeypatch.setattr(back_off, "_FIRST", 0.01)
    made.open(monkeypatch)
    return made


@pytest.fixture
def postponed(monkeypatch: pytest.MonkeyPatch) -> list[BackOff]:
    """Grows whenever a worker puts a request back because its device is gone."""
    times: list[BackOff] = []
    original = BackOff.fail

    def fail(self: BackOff) -> None:
        original(self)
        times.append(self)

    monkeypatch.setattr(BackOff, "fail", fail)
    return times


def generate(channel: grpc.Channel, photo: bytes) -> mask_pb2.MaskResponse:
    task = mask_pb2.MaskTask(image=mask_pb2.Image(encoded=photo), prompts=("cup",))
    call = MaskServiceStub(channel).Generate(messages.GenerateRequest(task=task), timeout=CALL_TIMEOUT)
    return call.response


def test_a_named_device_that_is_gone_is_unavailable_and_submitted_requests_wait_for_it(
    tmp_path: Path, chip: Chip, postponed: list[BackOff], jpeg: bytes
) -> None:
    with serving(tmp_path, device=NAME) as server, connect(server) as channel, Client(server.address) as client:
        assert generate(channel, jpeg).device == NAME
        chip.is_gone.set()
        with pytest.raises(grpc.RpcError) as caught:
            generate(channel, jpeg + b"\0")
        status = rich_status(caught.value)
        assert status.code == grpc.StatusCode.UNAVAILABLE.value[0]
        assert status.message.startswith(f"device '{NAME}' failed while it computed ")
        assert "CUDA failure 700: an illegal memory access was encountered. Try" in status.message
        error = to_error(status)
        assert isinstance(error, automask.DeviceError)
        assert error.is_gone
        jobs = [client.submit(jpeg + bytes([number]), "cup") for number in range(2)]
        wait_until(lambda: len(postponed) >= 8)
        assert [job.status().state in {State.QUEUED, State.PROCESSING} for job in jobs] == [True, True]
        chip.is_gone.clear()
        assert [job.result(CALL_TIMEOUT).device for job in jobs] == [NAME, NAME]
        assert [job.status().attempts for job in jobs] == [1, 1]  # none was lost
        assert generate(channel, jpeg + b"\0").device == NAME


def test_health_follows_a_device_that_is_gone_and_comes_back_without_calls(
    tmp_path: Path, chip: Chip, jpeg: bytes
) -> None:
    with serving(tmp_path, device=NAME, http_port=0) as server, connect(server) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)  # its type stubs list no methods

        def states() -> set[int]:
            """Health over HTTP, and over gRPC of the server, of the service and of the model."""
            checks = [health_pb2.HealthCheckRequest(service=name) for name in ("", SERVICE, f"{SERVICE}/default")]
            found = {stub.Check(check, timeout=CALL_TIMEOUT).status for check in checks}
            return found | {httpx.get(f"http://{server.http_address}/healthz", timeout=60).status_code}

        assert states() == {SERVING, 200}
        chip.is_gone.set()
        with pytest.raises(grpc.RpcError):
            generate(channel, jpeg)
        wait_until(lambda: states() == {NOT_SERVING, 502})
        body = httpx.get(f"http://{server.http_address}/healthz", timeout=60)
        assert "the device of every model is gone" in body.text
        assert body.headers["retry-after"] == "5"
        chip.is_gone.clear()
        wait_until(lambda: states() == {SERVING, 200})
        assert generate(channel, jpeg).device == NAME


def test_auto_goes_on_with_the_next_device_and_says_so(
    tmp_path: Path, chip: Chip, postponed: list[BackOff], jpeg: bytes
) -> None:
    with serving(tmp_path, device="auto") as server, connect(server) as channel, Client(server.address) as client:
        assert generate(channel, jpeg).device == NAME
        chip.is_gone.set()
        response = generate(channel, jpeg + b"\0")
        assert response.device == "cpu"
        (result,) = response.results
        assert result.warnings[0].startswith(f"device '{NAME}' failed while it computed ")
        assert "; running on cpu in " in result.warnings[0]
        assert client.submit(jpeg + b"\1", "cup").result(CALL_TIMEOUT).device == "cpu"
        assert [model.device for model in client.models()] == ["cpu"]
        chip.is_gone.clear()
        assert generate(channel, jpeg + b"\2").device == "cpu"  # until the next start
    assert postponed == []


def test_a_request_that_the_device_cannot_take_fails_alone(
    tmp_path: Path, chip: Chip, postponed: list[BackOff], jpeg: bytes
) -> None:
    with serving(tmp_path, device=NAME) as server, Client(server.address) as client:
        chip.fails_once.set()
        job = client.submit(jpeg + b"\0", "cup")
        with pytest.raises(automask.DeviceError, match="CUDA out of memory. Try a smaller image") as caught:
            job.result(CALL_TIMEOUT)
        assert not caught.value.is_gone
        assert job.status().state is State.FAILED
        assert client.submit(jpeg + b"\1", "cup").result(CALL_TIMEOUT).device == NAME
    assert postponed == []


@pytest.mark.parametrize("memory", ["", "cpu"])
def test_in_the_library(memory: str, chip: Chip, coffee: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    """With `memory`, encodings and the graph that resizes stay on the device."""
    monkeypatch.setitem(DEVICES, NAME, replace(DEVICES[NAME], memory=memory))
    named = automask.load(device=NAME, prove=False)  # type: ignore[arg-type]  # a row of the table
    automatic = automask.load(prove=False)
    expected = automatic.mask(coffee, "cup").mask
    chip.is_gone.set()
    with pytest.raises(automask.DeviceError) as caught:
        named.mask(coffee, "cup")
    assert caught.value.is_gone
    results = [*automatic.mask_many([coffee] * 3, "cup")]
    assert [result.device for result in results] == ["cpu"] * 3
    assert automatic.device == "cpu"
    assert automatic.warnings == results[0].warnings
    assert (results[0].mask == expected).mean() > 0.99
    chip.is_gone.clear()
    assert named.mask(coffee, "cup").device == NAME
    assert named.warnings == ()


def test_a_device_that_opens_and_computes_nothing_is_opened_once_for_a_call(
    chip: Chip, coffee: NDArray[np.uint8]
) -> None:
    segmenter = automask.load(device=NAME, prove=False)  # type: ignore[arg-type]  # a row of the table
    chip.is_mute.set()
    for calls in (1, 2):
        before = chip.opened
        with pytest.raises(automask.DeviceError) as caught:
            segmenter.mask(coffee, "cup")
        assert caught.value.is_gone
        assert chip.opened - before == len(segmenter.bundle.graphs), calls
    chip.is_mute.clear()
    assert segmenter.mask(coffee, "cup").device == NAME


def test_the_pause_grows_and_ends_with_a_success() -> None:
    pause, waits = BackOff(), []
    for _ in range(8):
        pause._until = 0.0  # it is over
        pause.fail()
        waits.append(round(pause.left))
        pause.fail()  # another request of the same outage
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    pause.succeed()
    assert pause.left == 0


def test_a_server_serves_with_a_cache_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, jpeg: bytes
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with serving(tmp_path) as server, connect(server) as channel:
        assert generate(channel, jpeg).device == "cpu"
    assert f"cannot keep in {tmp_path / 'file'}" in caplog.text
