"""Every way to call the service, as functions from a photo and a prompt to a response."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
from google.protobuf.duration_pb2 import Duration

from automask.service import Client
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceStub
from support.server_process import ServerProcess

TCP, UNIX, CLIENT = "`Generate`, TCP", "`Generate`, Unix socket", "`Client.mask`, Unix"
FORM, JSON, SUBMIT = "HTTP v1, multipart", "HTTP v1, JSON", "`Submit`, then `GetResult`"

Call = Callable[[bytes, str], object]
"""Sends a photo and a prompt, and returns the response."""


def mask_task(photo: bytes, prompt: str) -> mask_pb2.MaskTask:
    """Build a task with the default parameters, whose result is a mask as PNG."""
    return mask_pb2.MaskTask(image=mask_pb2.Image(encoded=photo), prompts=[prompt])


def generate(address: str) -> Call:
    """Call `Generate`."""
    stub = MaskServiceStub(grpc.insecure_channel(address))
    return lambda photo, prompt: stub.Generate(messages.GenerateRequest(task=mask_task(photo, prompt)))


def submit(address: str) -> Call:
    """Call `Submit`, then wait in `GetResult`."""
    stub = MaskServiceStub(grpc.insecure_channel(address))

    def call(photo: bytes, prompt: str) -> object:
        request_id = stub.Submit(messages.SubmitRequest(task=mask_task(photo, prompt))).status.request_id
        return stub.GetResult(messages.GetResultRequest(request_id=request_id, wait=Duration(seconds=60)))

    return call


def post(http: httpx.Client, *, form: bool) -> Call:
    """Post to the hosted API's endpoint: a form with an uploaded file, or JSON with the photo as base64."""

    def call(photo: bytes, prompt: str) -> object:
        if form:
            body: dict[str, Any] = {"data": {"prompt": prompt}, "files": {"image": ("photo.jpg", photo, "image/jpeg")}}
        else:
            body = {"json": {"prompt": prompt, "image": base64.b64encode(photo).decode("ascii")}}
        return http.post("/v1/automatic-mask-generator", **body).raise_for_status().content

    return call


@contextmanager
def serving(folder: Path, *options: object, device: str = "cpu") -> Iterator[tuple[ServerProcess, dict[str, Call]]]:
    """Run a server until the block ends; yield it and every way to call it, by name."""
    uds = folder / "automask.sock"
    folder.mkdir(parents=True, exist_ok=True)
    common = ("--port", 0, "--http-port", 0, "--uds", uds, "--store", folder / "requests.sqlite3")
    with ExitStack() as stack:
        server = stack.enter_context(ServerProcess(*common, "--device", device, "--log-level", "info", *options))
        limits = httpx.Limits(max_connections=None)
        address = f"http://{server.http_address}"
        http = stack.enter_context(httpx.Client(base_url=address, timeout=60, limits=limits))
        client = stack.enter_context(Client(f"unix:{uds}"))
        calls: dict[str, Call] = {
            TCP: generate(server.address),
            UNIX: generate(f"unix:{uds}"),
            CLIENT: lambda photo, prompt: client.mask(photo, prompt).mask,
            FORM: post(http, form=True),
            JSON: post(http, form=False),
            SUBMIT: submit(f"unix:{uds}"),
        }
        yield server, calls
        server.end()
