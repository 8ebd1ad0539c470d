"""Memory of finished calls is freed at once, not when the garbage collector runs."""

from __future__ import annotations

import base64
import gc
import types
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import psutil
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from automask.service.core.free_memory import return_free_memory
from automask.service.core.task import Task
from automask.service.http.forms import Form
from automask.service.server import Server
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceStub
from support.threaded_server import serving

V1, V2 = "/v1/automatic-mask-generator", "/v2/automatic-mask-generator"
BROKEN = b"\xff\xd8\xff" + bytes(100)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server"), http_port=0, decode_processes=1) as server:
        yield server


def over_http(server: Server, path: str, data: bytes, prompt: str, **more: Any) -> int:
    body = {"image": base64.b64encode(data).decode(), "prompt": prompt, **more}
    return httpx.post(f"http://{server.http_address}{path}", json=body, timeout=60).status_code


def as_form(server: Server, data: bytes) -> int:
    url = f"http://{server.http_address}{V1}"
    return httpx.post(url, data={"prompt": "cup"}, files={"image": data}, timeout=60).status_code


def over_grpc(server: Server, data: bytes, prompt: str) -> str:
    request = messages.GenerateRequest(task=mask_task(data, prompt))
    with grpc.insecure_channel(server.address) as channel:
        return str(MaskServiceStub(channel).Generate.future(request).code().name)


def over_stream(server: Server, data: bytes) -> str:
    with grpc.insecure_channel(server.address) as channel:
        frames = iter([messages.GenerateStreamRequest(task=mask_task(data, "cup"))])
        (answer,) = MaskServiceStub(channel).GenerateStream(frames)
        return answer.WhichOneof("outcome") or ""


def submitted(server: Server, data: bytes) -> int:
    with grpc.insecure_channel(server.address) as channel:
        stub = MaskServiceStub(channel)
        left = stub.Submit(messages.SubmitRequest(task=mask_task(data, "cup"))).status.request_id
        answer = stub.GetResult(messages.GetResultRequest(request_id=left, wait=Duration(seconds=60)))
        return answer.status.state


def mask_task(data: bytes, prompt: str) -> mask_pb2.MaskTask:
    return mask_pb2.MaskTask(image=mask_pb2.Image(encoded=data), prompts=[prompt])


CALLS: dict[str, tuple[Any, Any]] = {
    "HTTP, masked": (lambda server, jpeg: over_http(server, V1, jpeg, "cup"), 200),
    "HTTP, broken image": (lambda server, _: over_http(server, V1, BROKEN, "cup"), 400),
    "HTTP, broken image in a form": (lambda server, _: as_form(server, BROKEN), 400),
    "HTTP, no image": (lambda server, _: over_http(server, V1, b"x", "cup"), 400),
    "HTTP, unknown prompt": (lambda server, jpeg: over_http(server, V1, jpeg, "unobtainium"), 400),
    "HTTP, wrong parameter": (lambda server, jpeg: over_http(server, V1, jpeg, "cup", threshold=7), 400),
    "HTTP, submitted": (lambda server, jpeg: over_http(server, V2, jpeg, "cup"), 200),
    "gRPC, masked": (lambda server, jpeg: over_grpc(server, jpeg, "cup"), "OK"),
    "gRPC, broken image": (lambda server, _: over_grpc(server, BROKEN, "cup"), "INVALID_ARGUMENT"),
    "gRPC, unknown prompt": (lambda server, jpeg: over_grpc(server, jpeg, "unobtainium"), "INVALID_ARGUMENT"),
    "gRPC, broken frame": (lambda server, _: over_stream(server, BROKEN), "error"),
    "gRPC, submitted": (submitted, messages.REQUEST_STATE_COMPLETED),
    "gRPC, submitted broken image": (lambda server, _: submitted(server, BROKEN), messages.REQUEST_STATE_FAILED),
}


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("kind", CALLS)
def test_a_finished_call_leaves_no_reference_cycle(server: Server, jpeg: bytes, kind: str) -> None:
    call, expected = CALLS[kind]
    assert call(server, jpeg) == expected
    gc.collect()
    for _ in range(5):
        assert call(server, jpeg) == expected
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()  # what it finds now would have stayed in memory until it ran
    kept = [one for one in gc.garbage if isinstance(one, Task | Form | Message) or is_frame_of_automask(one)]
    assert not kept


def is_frame_of_automask(thing: object) -> bool:
    return isinstance(thing, types.FrameType) and "automask" in thing.f_code.co_filename


def test_free_memory_between_blocks_in_use_is_returned() -> None:
    process = psutil.Process()
    blocks = [b"\1" * 100_000 for _ in range(1000)]  # less than what malloc takes from the system directly
    kept = blocks[::50]
    blocks.clear()
    before = process.memory_info().rss
    return_free_memory()
    assert before - process.memory_info().rss > 50_000_000
    assert len(kept) == 20
