"""Metrics, logs and spans of a server, and what they must not contain."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent import futures
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

import automask
from automask.service.keys.sqlite import SqliteKeyStore
from automask.service.server import Server
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceStub
from support.gates import closed_gate
from support.server_process import ServerProcess
from support.threaded_server import serving, wait_until

TESTS = Path(__file__).parents[1]
STAGES = {"decode", "detect", "encode", "masks", "postprocess", "respond"}
Numbers = dict[tuple[str, frozenset[tuple[str, str]]], float]


def task(data: bytes, *prompts: str) -> mask_pb2.MaskTask:
    return mask_pb2.MaskTask(image=mask_pb2.Image(encoded=data), prompts=prompts)


def generating(*what: mask_pb2.MaskTask) -> list[messages.GenerateRequest]:
    return [messages.GenerateRequest(task=one) for one in what]


def outcome(method: Any, request: Any, **more: Any) -> tuple[grpc.StatusCode, str, dict[str, Any]]:
    """Code, message and trailing metadata of a call, however it ends."""
    try:
        _, call = method.with_call(request, **more)
    except grpc.RpcError as error:
        call = error
    return call.code(), call.details(), dict(call.trailing_metadata())


def numbers_of(server: Server) -> Numbers:
    with urllib.request.urlopen(f"http://{server.metrics_address}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def number(numbers: Numbers, name: str, **labels: str) -> float:
    return numbers[name, frozenset(labels.items())]


def test_the_metrics_count_the_calls(tmp_path: Path, jpeg: bytes) -> None:
    with (
        serving(tmp_path, metrics_port=0, workers=1) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = MaskServiceStub(channel)
        for request in generating(task(jpeg, "cup"), task(jpeg, "spoon"), task(b"\xff\xd8\xff", "cup"), task(jpeg)):
            outcome(stub.Generate, request)
        outcome(stub.GetStatus, messages.GetStatusRequest(request_id="none"))
        left = stub.Submit(messages.SubmitRequest(task=task(jpeg, "cup"))).status.request_id
        stub.GetResult(messages.GetResultRequest(request_id=left, wait=Duration(seconds=60)))
        ended = "automask_requests_total", frozenset({"state": "COMPLETED"}.items())
        wait_until(lambda: ended in numbers_of(server))  # it is counted after it is stored
        numbers = numbers_of(server)

    calls = {labels: value for (name, labels), value in numbers.items() if name == "automask_calls_total"}
    assert calls == {
        frozenset({("method", method), ("code", code)}): count
        for method, code, count in (
            ("Generate", "OK", 2),
            ("Generate", "INVALID_ARGUMENT", 2),
            ("GetStatus", "NOT_FOUND", 1),
            ("Submit", "OK", 1),
            ("GetResult", "OK", 1),
        )
    }
    assert number(numbers, "automask_call_seconds_count", method="Generate") == 4
    assert number(numbers, "automask_call_seconds_sum", method="Generate") > 0
    # Four reached the model, one of them without an image; three were answered.
    assert number(numbers, "automask_batch_size_count") == number(numbers, "automask_batch_size_sum") == 4
    assert number(numbers, "automask_wait_seconds_count") == number(numbers, "automask_inference_seconds_count") == 3
    for stage in STAGES:
        assert 1 <= number(numbers, "automask_stage_seconds_count", stage=stage) <= 3
    assert not any(("stage", "total") in labels for _, labels in numbers)
    assert number(numbers, "automask_queue_depth") == 0
    assert number(numbers, "automask_requests_total", state="COMPLETED") == 1
    assert number(numbers, "automask_store_requests", state="COMPLETED") == 1
    assert number(numbers, "automask_store_bytes") > 0

    alone = automask.load(device="cpu")
    alone.warm_up()
    for prompt in ("cup", "spoon", "cup"):
        alone.mask(jpeg, prompt)
    with pytest.raises(automask.AutomaskError):
        alone.mask(b"\xff\xd8\xff", "cup")
    expected = alone.cache_info()
    assert expected.hits > 0
    assert number(numbers, "automask_cache_hits_total", model="default") == expected.hits
    assert number(numbers, "automask_cache_misses_total", model="default") == expected.misses
    assert number(numbers, "automask_cache_bytes", model="default") == expected.bytes


@pytest.mark.usefixtures("stops_early")
def test_late_and_cancelled_calls_have_different_codes(
    tmp_path: Path, jpeg: bytes, other_jpeg: bytes, segmenter: automask.Segmenter
) -> None:
    endless = task(other_jpeg, *segmenter.vocabulary[:64])
    endless.parameters.threshold = 0
    with serving(tmp_path, metrics_port=0, workers=1) as server:
        with grpc.insecure_channel(server.address) as channel:
            stub = MaskServiceStub(channel)
            (request,) = generating(endless)
            # On a busy machine, a call may end before the server has it, and then counts as none.
            for timeout in (0.3, 3, 30):
                with pytest.raises(grpc.RpcError, match="DEADLINE_EXCEEDED"):
                    stub.Generate(request, timeout=timeout)
                before = numbers_of(server)
                if number(before, "automask_batch_size_count"):
                    break
            running = stub.Generate.future(request)
            batches = number(before, "automask_batch_size_count")
            wait_until(lambda: number(numbers_of(server), "automask_batch_size_count") > batches)
            running.cancel()
            # The one worker takes this only once it was let go.
            stub.Generate(generating(task(jpeg, "cup"))[0])
        for code in ("DEADLINE_EXCEEDED", "CANCELLED"):
            labels = frozenset({"method": "Generate", "code": code}.items())
            wait_until(lambda labels=labels: ("automask_calls_total", labels) in numbers_of(server))  # type: ignore[misc]
            assert numbers_of(server)["automask_calls_total", labels] == 1


def test_waiting_tasks_are_counted(tmp_path: Path, jpeg: bytes) -> None:
    with (
        serving(tmp_path, metrics_port=0, workers=1, max_batch=1) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = MaskServiceStub(channel)
        with closed_gate():
            calls = [stub.Generate.future(request) for request in generating(*[task(jpeg, "cup")] * 3)]
            wait_until(lambda: number(numbers_of(server), "automask_queue_depth") == 2)
            assert not any(call.done() for call in calls)
        for call in calls:
            call.result()
        assert number(numbers_of(server), "automask_queue_depth") == 0


def test_metrics_are_exported_while_the_store_cannot_be_read(tmp_path: Path) -> None:
    with serving(tmp_path, metrics_port=0) as server, grpc.insecure_channel(server.address) as channel:
        stub = MaskServiceStub(channel)
        with closing(sqlite3.connect(tmp_path / "requests.sqlite3")) as store:
            store.execute("ALTER TABLE requests RENAME TO elsewhere")
            store.commit()
            code, _, _ = outcome(stub.GetStatus, messages.GetStatusRequest(request_id="x"))
            numbers = numbers_of(server)
            store.execute("ALTER TABLE elsewhere RENAME TO requests")
            store.commit()
        assert code is grpc.StatusCode.INTERNAL
        assert number(numbers, "automask_calls_total", method="GetStatus", code="INTERNAL") == 1
        assert ("automask_store_bytes", frozenset()) not in numbers
        assert ("automask_store_bytes", frozenset()) in numbers_of(server)


def test_the_log_has_the_request_id_on_every_line_and_never_a_key_or_a_photo(tmp_path: Path, jpeg: bytes) -> None:
    with closing(SqliteKeyStore(tmp_path / "keys", create=True)) as file:
        key = file.add("camera")
    photo = io.BytesIO()
    Image.open(io.BytesIO(jpeg)).save(photo, "TIFF", description="at my house")
    described = photo.getvalue()
    metadata: dict[str, Any] = {"metadata": (("x-api-key", key),)}
    options = ("--port", 0, "--store", tmp_path / "s", "--keys", tmp_path / "keys", "--log-level", "debug")
    with ServerProcess(*options) as process, grpc.insecure_channel(process.address) as channel:
        stub = MaskServiceStub(channel)
        submission = messages.SubmitRequest(task=task(jpeg, "cup"))
        good, bad, tiff = generating(task(jpeg, "cup"), task(jpeg[: len(jpeg) // 2], "cup"), task(described, "cup"))
        outcomes = {
            "Generate": outcome(stub.Generate, good, **metadata),
            "broken": outcome(stub.Generate, bad, **metadata),
            "TIFF": outcome(stub.Generate, tiff, **metadata),
            "wrong key": outcome(stub.Generate, good, metadata=(("x-api-key", key[:-1]),)),
            "Submit": outcome(stub.Submit, submission, **metadata),
        }
        left = outcomes["Submit"][2]["x-request-id"]
        stub.GetResult(messages.GetResultRequest(request_id=left, wait=Duration(seconds=60)), **metadata)
        assert process.end() == 0
    assert len(process.events) == len(process.lines), "each line is an object"
    assert all({"event", "level", "timestamp"} <= event.keys() for event in process.events)

    calls = {one["request_id"]: one for one in process.events if one["event"] == "call"}
    for code, _, told in outcomes.values():
        event = calls[told["x-request-id"]]
        assert event["code"] == code.name
        assert event["ms"] > 0
        assert event["method"] in {"Generate", "Submit"}
    (worked,) = (one for one in process.events if one["event"] == "request")
    assert (worked["request_id"], worked["state"], worked["key"]) == (left, "COMPLETED", "camera")
    about_server = {"loading", "model", "serving", "draining", "stopped"}
    for event in process.events:
        assert "request_id" in event or event["event"] in about_server or event["event"].startswith("Using selector")

    log = "".join(process.lines)
    assert "at my house" not in log
    secret = key.split("_", 2)[2]
    for hidden in (key, key[:-1], secret, secret[:20]):
        assert hidden not in log
    for start in (0, 1, 2, 300, 3000):
        piece = jpeg[start : start + 12]
        shown = repr(piece)[2:-1]
        for text in (base64.b64encode(piece).decode(), piece.hex(), shown, json.dumps(shown)[1:-1]):
            assert text not in log


def test_an_unexpected_error_is_in_the_log_and_hidden_from_the_client(tmp_path: Path, jpeg: bytes) -> None:
    with (
        ServerProcess("--port", 0, "--store", tmp_path / "s") as process,
        grpc.insecure_channel(process.address) as channel,
    ):
        stub = MaskServiceStub(channel)
        left = stub.Submit(messages.SubmitRequest(task=task(jpeg, "cup"))).status.request_id
        stub.GetResult(messages.GetResultRequest(request_id=left, wait=Duration(seconds=60)))
        with closing(sqlite3.connect(tmp_path / "s")) as store:
            store.execute("UPDATE results SET result = x'ff'")  # no answer that this server ever wrote
            store.commit()
        code, message, told = outcome(stub.GetResult, messages.GetResultRequest(request_id=left))
        assert process.end() == 0
    assert code is grpc.StatusCode.INTERNAL
    assert message == f"the server failed on this; its log has more under {told['x-request-id']}"
    assert b"DecodeError" not in told["grpc-status-details-bin"]
    of_call = [event for event in process.events if event.get("request_id") == told["x-request-id"]]
    assert sorted(event["event"] for event in of_call) == ["a bug", "call"]
    (trace,) = next(event for event in of_call if event["event"] == "a bug")["exception"]
    assert trace["exc_type"] == "DecodeError"
    assert any(frame["name"] == "GetResult" for frame in trace["frames"])


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=TESTS,
        env={**os.environ, **environment},
    )


def test_the_server_runs_without_opentelemetry(tmp_path: Path, jpeg: bytes) -> None:
    (tmp_path / "photo").write_bytes(jpeg)
    done = python(f"""
import sys
sys.modules["opentelemetry"] = None
from pathlib import Path
import grpc
from automask.v1 import mask_pb2, mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceStub
from automask.service.telemetry.tracing import configure_tracing
sys.path.insert(0, {str(TESTS)!r})
from support.threaded_server import serving
configure_tracing()
folder = Path({str(tmp_path)!r})
with serving(folder) as server, grpc.insecure_channel(server.address) as channel:
    image = mask_pb2.Image(encoded=(folder / "photo").read_bytes())
    task = mask_pb2.MaskTask(image=image, prompts=["cup"])
    print("results", len(MaskServiceStub(channel).Generate(messages.GenerateRequest(task=task)).response.results))
""")
    assert done.returncode == 0, done.stderr
    assert "results 1" in done.stdout


@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
def test_an_endpoint_without_the_extra_says_what_to_install(variable: str, tmp_path: Path) -> None:
    done = python(
        f"""
import sys
sys.modules["opentelemetry"] = None
from automask.cli import main
main(["serve", "--port", "0", "--store", {str(tmp_path / "s")!r}])
""",
        **{variable: "http://127.0.0.1:4317"},
    )
    assert done.returncode == 1
    assert done.stderr == f"automask: error: {variable} is set, and spans need: pip install 'automask[otel]'\n"


@pytest.fixture(scope="module")
def exported() -> Iterator[Any]:
    """All spans of this process, which has one provider for good."""
    trace = pytest.importorskip("opentelemetry.trace")
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    exporter = memory.InMemorySpanExporter()
    provider = sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    yield exporter
    provider.shutdown()


def test_a_call_is_a_child_span_with_its_stages(exported: Any, tmp_path: Path, jpeg: bytes) -> None:
    trace_id, parent_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with serving(tmp_path) as server, grpc.insecure_channel(server.address) as channel:
        stub = MaskServiceStub(channel)
        exported.clear()
        metadata = (("traceparent", f"00-{trace_id}-{parent_id}-01"), ("x-api-key", "am_secret"))
        good, bad = generating(task(jpeg, "cup"), task(b"\xff\xd8\xff", "cup"))
        _, _, told = outcome(stub.Generate, good, metadata=metadata)
        spans = {span.name: span for span in exported.get_finished_spans()}
        exported.clear()
        outcome(stub.Generate, bad)
        (failed,) = exported.get_finished_spans()
    root = spans.pop("automask.v1.MaskService/Generate")
    assert f"{root.context.trace_id:032x}" == trace_id
    assert f"{root.parent.span_id:016x}" == parent_id
    assert root.kind.name == "SERVER"
    assert root.attributes["automask.request_id"] == told["x-request-id"]
    assert spans.keys() == {"queue", *STAGES}
    for span in spans.values():
        assert span.parent.span_id == root.context.span_id
        assert span.context.trace_id == root.context.trace_id
        assert span.start_time <= span.end_time <= root.end_time
    assert failed.parent is None
    assert failed.status.status_code.name == "ERROR"
    assert "am_secret" not in str([span.to_json() for span in (root, failed)])


def test_a_submitted_request_is_a_span(exported: Any, tmp_path: Path, jpeg: bytes) -> None:
    with serving(tmp_path) as server, grpc.insecure_channel(server.address) as channel:
        stub = MaskServiceStub(channel)
        exported.clear()
        left = stub.Submit(messages.SubmitRequest(task=task(jpeg, "cup"))).status.request_id
        stub.GetResult(messages.GetResultRequest(request_id=left, wait=Duration(seconds=60)))
    (span,) = (span for span in exported.get_finished_spans() if span.name == "automask.request")
    assert span.attributes == {"automask.request_id": left, "automask.model": "default"}
    children = {
        one.name for one in exported.get_finished_spans() if one.parent and one.parent.span_id == span.context.span_id
    }
    assert children == {"queue", *STAGES}


def test_spans_are_sent_to_the_endpoint_and_flushed_at_exit(tmp_path: Path, jpeg: bytes) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc")
    collected = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    services = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc")
    received: list[Any] = []

    class Collector(services.TraceServiceServicer):  # type: ignore[misc,name-defined]
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
            del context
            received.append(request)
            return collected.ExportTraceServiceResponse()

    with futures.ThreadPoolExecutor(1) as pool:
        collector = grpc.server(pool)
        services.add_TraceServiceServicer_to_server(Collector(), collector)
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.add_insecure_port('127.0.0.1:0')}"}
        collector.start()
        with ServerProcess("--port", 0, "--store", tmp_path / "s", env=environment) as process:
            with grpc.insecure_channel(process.address) as channel:
                MaskServiceStub(channel).Generate(generating(task(jpeg, "cup"))[0])
            assert process.end() == 0
        collector.stop(None).wait()
    names = {
        span.name
        for request in received
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    }
    assert {"automask.v1.MaskService/Generate", "queue", "decode"} <= names
    assert re.search(r'key: "service.name"\s+value \{\s+string_value: "automask"', str(received[0]))
