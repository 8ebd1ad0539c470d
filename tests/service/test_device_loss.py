"""A device that goes away while a server runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import grpc
import pytest

from automask.devices import DEVICES, import_onnxruntime
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceStub
from support.threaded_server import CALL_TIMEOUT, connect, rich_status, serving


def test_a_device_that_goes_away_is_unavailable_and_no_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jpeg: bytes
) -> None:
    """The real provider of the CPU as another device, which fails once the server serves."""
    monkeypatch.setitem(DEVICES, "new", replace(DEVICES["cpu"], name="new", identify=lambda: "a chip"))
    monkeypatch.setitem(DEVICES, "cuda", replace(DEVICES["cuda"], probe=lambda: "it is not here"))
    ort, is_gone = import_onnxruntime(), Event()

    class Fragile(ort.InferenceSession):  # type: ignore[misc, name-defined]
        def run(self, *arguments: Any) -> Any:
            if is_gone.is_set():
                raise RuntimeError("CUDA failure 700: an illegal memory access was encountered\nmore")
            return super().run(*arguments)

    monkeypatch.setattr(ort, "InferenceSession", Fragile)

    with serving(tmp_path, device="auto") as server, connect(server) as channel:

        def generate(photo: bytes) -> Any:
            task = mask_pb2.MaskTask(image=mask_pb2.Image(encoded=photo), prompts=("cup",))
            return MaskServiceStub(channel).Generate(messages.GenerateRequest(task=task), timeout=CALL_TIMEOUT)

        assert generate(jpeg).response.device == "new"
        is_gone.set()
        with pytest.raises(grpc.RpcError) as caught:
            generate(jpeg + b"\0")
        status = rich_status(caught.value)
        assert status.code == grpc.StatusCode.UNAVAILABLE.value[0]
        assert status.message.startswith("device 'new' failed while it computed ")
        assert "CUDA failure 700: an illegal memory access was encountered. Load the model again" in status.message
        is_gone.clear()
        assert generate(jpeg + b"\0").response.device == "new"
