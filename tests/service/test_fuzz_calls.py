"""Random and mutated calls: each is answered, none with an internal error, and only work costs a credit.

``make fuzz EXAMPLES=5000`` tries more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from automask.service.keys.sqlite import SqliteKeyStore
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages
from support.hostile_bodies import TINY, mutate, random_body
from support.threaded_server import rich_status, serving

V1, V2 = "/v1/automatic-mask-generator", "/v2/automatic-mask-generator"
EXAMPLES = int(os.environ.get("AUTOMASK_FUZZ_EXAMPLES", "150"))
EXPECTED = {200, 400, 404, 429}


@pytest.mark.parametrize("path", [V1, V2])
def test_any_body_is_answered_and_only_work_is_paid(tmp_path: Path, path: str) -> None:
    random = Random(path)  # noqa: S311 (reproducible)
    answered = 0
    with (
        closing(SqliteKeyStore(tmp_path / "keys", create=True)) as keys,
        serving(tmp_path, http_port=0, keys=tmp_path / "keys", max_queue=2 * EXAMPLES) as server,
        httpx.Client(base_url=f"http://{server.http_address}", timeout=60) as http,
    ):
        key = keys.add("fuzz", credits=2 * EXAMPLES)
        for number in range(EXAMPLES):
            body, content_type = random_body(random)
            response = http.post(path, content=body, headers={"content-type": content_type, "x-api-key": key})
            assert response.status_code in EXPECTED, f"number {number}: {response.text}\n{content_type}\n{body!r}"
            if response.status_code == 200:
                answered += 1
            else:
                assert response.json()["error"]
        if path == V1:
            assert keys.credits("fuzz") == 2 * EXAMPLES - answered
    assert 0 < answered < EXAMPLES


METHODS = messages.DESCRIPTOR.services_by_name["MaskService"].methods
TASK = mask_pb2.MaskTask(
    image=mask_pb2.Image(encoded=TINY),
    prompts=["cup"],
    exclude=["spoon"],
    parameters=mask_pb2.MaskParameters(threshold=0.5, grow_mask=2, seed=7),
    formats=[mask_pb2.OUTPUT_FORMAT_MASK_PNG],
)
RAW = mask_pb2.MaskTask(
    image=mask_pb2.Image(raw=mask_pb2.RawImage(data=bytes(48), width=4, height=4, channels=3)), prompts=["cup"]
)
VALID: dict[str, list[Any]] = {
    "Generate": [messages.GenerateRequest(task=TASK), messages.GenerateRequest(task=RAW)],
    "GenerateStream": [messages.GenerateStreamRequest(task=TASK), messages.GenerateStreamRequest(task=RAW)],
    "Submit": [messages.SubmitRequest(task=TASK, idempotency_key="one", deadline=Duration(seconds=60))],
    "GetStatus": [messages.GetStatusRequest(request_id="none")],
    "WatchStatus": [messages.WatchStatusRequest(request_id="none")],
    "GetResult": [messages.GetResultRequest(request_id="none", wait=Duration(nanos=1))],
    "Cancel": [messages.CancelRequest(request_id="none")],
    "ListModels": [messages.ListModelsRequest()],
}
MALFORMED = {"not protobuf": b"\xff" * 9, "cut off": b"\x0a\x7f", "not UTF-8": b"\x0a\x02\xff\xfe"}
BAD_TEXT = b"\x0a\x04\x12\x02\xff\xfe"  # a task whose prompt is not UTF-8


def call_raw(channel: grpc.Channel, name: str, data: bytes) -> Status | None:
    """Call a method with the bytes of a message; return the error of the call, or of its frame."""
    method = next(one for one in METHODS if one.name == name)
    path = f"/{METHODS[0].containing_service.full_name}/{name}"
    raw: Any = channel
    try:
        if method.client_streaming:
            (answer,) = raw.stream_stream(path)(iter([data]), timeout=60)
            frame = messages.GenerateStreamResponse.FromString(answer)
            return frame.error if frame.HasField("error") else None
        if method.server_streaming:
            list(raw.unary_stream(path)(data, timeout=60))
        else:
            raw.unary_unary(path)(data, timeout=60)
    except grpc.RpcError as error:
        return rich_status(error)
    return None


@pytest.mark.parametrize("name", [method.name for method in METHODS])
def test_a_malformed_message_is_an_invalid_argument_with_details(name: str, channel: grpc.Channel) -> None:
    for kind, data in MALFORMED.items():
        if name == "ListModels" and kind == "not UTF-8":
            continue  # it has no text
        carried = BAD_TEXT if "task" in VALID[name][0].DESCRIPTOR.fields_by_name and kind == "not UTF-8" else data
        status = call_raw(channel, name, carried)
        assert status is not None, kind
        assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
        assert status.message == f"the message must be valid protobuf, with text in UTF-8, got '{len(carried)} bytes'"
        info = ErrorInfo()
        assert any(detail.Unpack(info) for detail in status.details)
        assert info.reason == "INVALID_PARAMETER"


def test_any_message_is_answered(channel: grpc.Channel) -> None:
    random = Random("messages")  # noqa: S311 (reproducible)
    accepted = 0
    for number in range(EXAMPLES):
        name = random.choice([*VALID])
        data = mutate(random, random.choice(VALID[name]).SerializeToString())
        status = call_raw(channel, name, data)
        if status is not None:
            assert status.code != grpc.StatusCode.INTERNAL.value[0], f"number {number}, {name}: {status}\n{data!r}"
            assert status.details
        else:
            accepted += 1
    assert 0 < accepted < EXAMPLES


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[grpc.Channel]:
    folder = tmp_path_factory.mktemp("server")
    with serving(folder, max_queue=max(EXAMPLES, 1)) as server, grpc.insecure_channel(server.address) as channel:
        yield channel
