"""Logs at info hold no API key, prompt or image, however a call ends, also through a bug of the server."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread
from typing import IO, Any, cast

import grpc
import httpx
import pytest
from google.protobuf.duration_pb2 import Duration

import automask
from automask.service.keys.sqlite import SqliteKeyStore
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceStub

V1 = "/v1/automatic-mask-generator"
CANARY = "zyxcanary"  # a word of the prompt that no model knows
LABELS = json.loads((Path(automask.__file__).parent / "bundles/default/vocabulary.json").read_text())["labels"]
MAX_LINE = 30_000  # characters

# A server with a bug, whose error and whose local variables quote the call.
BUGGY = """
from automask.cli import main
from automask.segmenter import Segmenter

answer = Segmenter.answer

def buggy(self, image, queries, **options):
    prompts = [prompt for query in queries for prompt in getattr(query, "query", query).prompts]
    if any("dog" in prompt for prompt in prompts):
        raise ValueError(f"can't mask {prompts!r} in {image!r}") from KeyError(prompts[0])
    return answer(self, image, queries, **options)

if __name__ == "__main__":
    Segmenter.answer = buggy
    main()
"""


@contextmanager
def buggy_server(folder: Path, *options: object) -> Iterator[tuple[str, str, list[str]]]:
    """Serve until the block ends; yield the addresses of gRPC and HTTP, and the lines of the log."""
    program = folder / "buggy.py"
    program.write_text(BUGGY)
    command = [sys.executable, program, "serve", "--device", "cpu", "--port", 0, "--http-port", 0, *options]
    lines: list[str] = []
    with subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True) as process:
        stderr = cast("IO[str]", process.stderr)
        while "serving" not in (line := stderr.readline()):
            assert line, "".join(lines)
            lines.append(line)
        reader = Thread(target=lambda: lines.extend(stderr))
        reader.start()
        try:
            address, http = (re.search(rf'{name}["=: ]+([\d.]+:\d+)', line) for name in ("address", "http"))
            assert address
            assert http
            yield address[1], http[1], lines
        finally:
            process.terminate()
            reader.join()


def outcome(call: Any) -> str:
    try:
        call()
    except grpc.RpcError as error:
        return str(cast("Any", error).code().name)
    return "OK"


@pytest.mark.parametrize("options", [("--log-json",), ()], ids=["json", "text"])
def test_no_log_line_quotes_a_call(tmp_path: Path, jpeg: bytes, other_jpeg: bytes, options: tuple[str, ...]) -> None:
    with closing(SqliteKeyStore(tmp_path / "keys", create=True)) as file:
        key = file.add("camera")
    metadata = (("x-api-key", key),)
    image = base64.b64encode(jpeg).decode()

    def task(data: bytes, *prompts: str, **parameters: Any) -> mask_pb2.MaskTask:
        encoded = mask_pb2.Image(encoded=data)
        return mask_pb2.MaskTask(
            image=encoded, prompts=prompts, parameters=mask_pb2.MaskParameters(**parameters), model=""
        )

    with (
        buggy_server(tmp_path, "--store", tmp_path / "s", "--keys", tmp_path / "keys", *options) as (
            address,
            http,
            log,
        ),
        grpc.insecure_channel(address) as channel,
        httpx.Client(base_url=f"http://{http}", headers={"x-api-key": key}, timeout=60) as client,
    ):
        stub = MaskServiceStub(channel)

        def generate(*what: Any, **parameters: Any) -> str:
            request = messages.GenerateRequest(task=task(*what, **parameters))
            return outcome(lambda: stub.Generate(request, metadata=metadata))

        assert generate(jpeg, f"the {CANARY} cup") == "OK"
        assert generate(jpeg, CANARY) == "INVALID_ARGUMENT"
        assert generate(jpeg, f"the {CANARY} zebra", stop_on_empty_mask=True) == "INVALID_ARGUMENT"
        assert generate(jpeg, f"the {CANARY} dog") == "INTERNAL"
        harmless = [one for one in LABELS if "dog" not in one]
        endless = task(other_jpeg, *(f"the {CANARY} {one}" for one in harmless[:60]), threshold=0)
        request = messages.GenerateRequest(task=endless)
        assert outcome(lambda: stub.Generate(request, metadata=metadata, timeout=1)) == "DEADLINE_EXCEEDED"
        running = stub.Generate.future(request, metadata=metadata)
        running.cancel()
        for prompt in (f"the {CANARY} cup", f"the {CANARY} dog"):
            submission = messages.SubmitRequest(task=task(jpeg, prompt))
            left = stub.Submit(submission, metadata=metadata).status.request_id
            stub.GetResult(messages.GetResultRequest(request_id=left, wait=Duration(seconds=60)), metadata=metadata)
        for fields, status in (
            ({"prompt": f"the {CANARY} cup"}, 200),
            ({"prompt": CANARY}, 400),
            ({"prompt": f"the {CANARY} dog"}, 500),
            ({"prompt": "cup", "threshold": CANARY}, 400),
            ({"prompt": [CANARY]}, 400),
            ({"prompt": "cup", "image": f"{CANARY}!"}, 400),
            ({"prompt": "cup", "model": CANARY}, 404),
            ({"prompt": "cup", CANARY: 1}, 200),
        ):
            assert client.post(V1, json={"image": image, **fields}).status_code == status, fields
        half = json.dumps({"prompt": CANARY, "image": image})[:-1]
        assert client.post(V1, content=half, headers={"content-type": "application/json"}).status_code == 400
        assert client.post(V1, json={}, headers={"x-api-key": f"{CANARY}-key"}).status_code == 401

    text = "".join(log)
    assert text.count("a bug") == 3, "one of each way to call"
    assert "ValueError" in text
    assert "KeyError" in text
    assert "in buggy" in text or '"name": "buggy"' in text
    for hidden in (CANARY, key, key.split("_", 2)[2], image[:40], image[100:140], repr(jpeg[300:312])[2:-1]):
        assert hidden not in text
        assert json.dumps(hidden)[1:-1] not in text
    assert max(map(len, log)) < MAX_LINE
