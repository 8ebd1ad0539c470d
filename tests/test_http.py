"""The hosted API's calls over HTTP, against a real server: bodies, answers, limits, errors, and who is told what."""

from __future__ import annotations

import base64
import io
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from numpy.typing import NDArray
from PIL import Image

import automask
from automask.service.keys import KeyFile
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceStub
from servers import ServerProcess, serving

V1, V2 = "/v1/automatic-mask-generator", "/v2/automatic-mask-generator"
PATIENCE = Duration(seconds=60)


@pytest.fixture(scope="module")
def photo(coffee: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(coffee).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="module")
def image(photo: bytes) -> str:
    return base64.b64encode(photo).decode()


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a server without keys, which fetches nothing."""
    settings: dict[str, Any] = {"http_port": 0, "fetch_urls": "off", "max_image_mb": 0.3}
    with (
        serving(tmp_path_factory.mktemp("open"), **settings) as server,
        httpx.Client(base_url=f"http://{server.http_address}", timeout=60) as client,
    ):
        yield client


def submit(http: httpx.Client, image: str, **more: Any) -> dict[str, Any]:
    answer = http.post(V2, json={"image": image, "prompt": "cup"}, **more)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def wait(grpc_address: str, request_id: str, key: str = "") -> None:
    """Wait for a request to end, without asking again and again."""
    with grpc.insecure_channel(grpc_address) as channel:
        request = messages.GetResultRequest(request_id=request_id, wait=PATIENCE)
        MaskServiceStub(channel).GetResult(request, metadata=(("x-api-key", key),))


def test_every_kind_of_body_gives_the_same_picture(http: httpx.Client, photo: bytes, image: str) -> None:
    texts = {"prompt": "cup", "grow_mask": "3", "invert_mask": "true"}
    answers = [
        http.post(V1, json={"image": image, "prompt": "cup", "grow_mask": 3, "invert_mask": True}),
        http.post(V1, data={"image": image, **texts}),
        http.post(V1, data=texts, files={"image": ("room.jpg", photo, "image/jpeg")}),
        http.post(V1, data={"image": image, **texts}, files={"unused": b""}),
        http.post(V1, content=json.dumps({"image": image, **texts})),
        http.post(f"/v1/models{V1[3:]}", json={"image": image, **texts}),
    ]
    assert [answer.status_code for answer in answers] == [200] * len(answers)
    assert len({answer.content for answer in answers}) == 1
    assert {answer.headers["content-type"] for answer in answers} == {"image/png"}
    assert answers[3].headers["x-warnings"] == "unknown parameter, ignored: unused"
    assert "x-warnings" not in answers[0].headers


@pytest.mark.parametrize(
    ("wanted", "mode"), [({}, "L"), ({"return_alpha": True}, "RGBA"), ({"return_mask": False}, "RGB")]
)
def test_mask_alpha_or_preview(http: httpx.Client, image: str, wanted: dict[str, bool], mode: str) -> None:
    answer = http.post(V1, json={"image": image, "prompt": "cup", **wanted})
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert (picture.mode, picture.size) == (mode, (600, 400))


def test_unknown_parameters_are_named_in_every_kind_of_answer(http: httpx.Client, image: str) -> None:
    body = {"image": image, "prompt": "cup", "steps": 20, "größe": 1}
    named = ["unknown parameter, ignored: steps", "unknown parameter, ignored: größe"]
    assert http.post(V1, json={**body, "base64": True}).json()["warnings"] == named
    assert http.post(V1, json=body).headers["x-warnings"].startswith(f"{named[0]}; unknown parameter, ignored: gr")
    told = http.post(V2, json=body).json()
    assert told["warnings"] == named
    assert http.get(told["response_url"]).json()["warnings"] == named


@pytest.mark.parametrize(
    ("content", "kind", "sentence"),
    [
        (b"{", "application/json", "body must be JSON or a form (Expecting property name"),
        (b"\xff\xd8\xff", "image/jpeg", "body must be JSON or a form ("),
        (b"[1]", "application/json", "body must be a JSON object, got '[1]'"),
        (b"", "", "body must be JSON or a form (Expecting value"),
        (b"[" * 100_000, "application/json", "body must be JSON that is not nested, got '[[["),
        (b"what", "multipart/form-data", "body must be a form that can be read (Missing boundary"),
        (b"what", "multipart/form-data; boundary=b", "body must be a form that can be read ("),
        (b"{}", "application/json", "image is missing: give a data: URI"),
        (b'{"image": "a.jpg", "prompt": "cup"}', "application/json", "image must be a data: URI, base64"),
        (b'{"image": "http://127.0.0.1/", "prompt": "cup"}', "application/json", "this server fetches no"),
        (b'{"image": "bm90IGFuIGltYWdl", "prompt": "cup"}', "application/json", "not an image: starts with"),
    ],
)
def test_a_body_that_cannot_be_read_is_a_400_that_says_why(
    http: httpx.Client, content: bytes, kind: str, sentence: str
) -> None:
    answer = http.post(V1, content=content, headers={"content-type": kind})
    told = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/json")
    assert told["request_id"] == answer.headers["x-request-id"]
    assert told["reason"] in {"INVALID_PARAMETER", "INVALID_IMAGE"}
    assert sentence in told["error"]


def test_both_paths_refuse_what_is_out_of_range(http: httpx.Client, image: str) -> None:
    for path in (V1, V2):
        answer = http.post(path, json={"image": image, "prompt": "cup", "grow_mask": 500})
        assert (answer.status_code, answer.json()["error"]) == (
            400,
            "grow_mask must be an integer in [0, 100], got 500",
        )
        answer = http.post(path, json={"image": image, "prompt": "unobtainium"})
        assert (answer.status_code, answer.json()["reason"]) == (400, "UNKNOWN_PROMPT")
        answer = http.post(path, json={"image": image, "prompt": "cup", "model": "none"})
        assert (answer.status_code, answer.json()["reason"]) == (404, "NOT_FOUND")


def test_what_is_too_large_is_refused(http: httpx.Client) -> None:
    sentence = "the body has more than 485,536 bytes"
    declared = http.post(V1, content=b"x" * 3_000_000)
    assert (declared.status_code, declared.json()["reason"]) == (400, "INVALID_IMAGE")
    assert sentence in declared.json()["error"]
    undeclared = http.post(V1, content=iter([b"x" * 100_000] * 30), headers={"content-type": "application/json"})
    assert undeclared.status_code == 400
    assert sentence in undeclared.json()["error"]
    image = base64.b64encode(b"\xff\xd8\xff" + bytes(300_000)).decode()
    answer = http.post(V1, json={"image": image, "prompt": "cup"})
    assert answer.status_code == 400
    assert "image has 300,003 bytes, this server takes 300,000 at most" in answer.json()["error"]


def test_paths_and_methods_that_lead_nowhere(http: httpx.Client) -> None:
    for method, path, status in (
        ("GET", "/nothing", 404),
        ("GET", V1, 405),
        ("PUT", V2, 405),
        ("POST", "/v1/sdxl", 404),
        ("POST", "/v2/models/sdxl", 404),
        ("GET", "/v2/requests/unknown", 404),
        ("GET", "/v2/requests/unknown/status", 404),
        ("GET", "/v2/requests/unknown/output.png", 404),
    ):
        answer = http.request(method, path)
        assert answer.status_code == status, path
        assert answer.json()["error"]
        assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_every_answer_has_security_headers_and_nothing_for_other_origins(http: httpx.Client, image: str) -> None:
    body = {"image": image, "prompt": "cup"}
    headers = {"origin": "https://elsewhere.example"}
    for answer in (
        http.post(V1, json=body, headers=headers),
        http.post(V2, json=body, headers=headers),
        http.post(V1, headers=headers),
        http.get("/healthz", headers=headers),
        http.get("/docs", headers=headers),
        http.get("/", headers=headers),
        http.get("/nothing", headers=headers),
        http.options(V1, headers={**headers, "access-control-request-method": "POST"}),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] in {"no-store", "no-cache"}
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert "server" not in answer.headers


def test_origins_that_are_allowed(tmp_path: Path) -> None:
    with (
        serving(tmp_path, http_port=0, cors_origins="https://good.example") as server,
        httpx.Client(base_url=f"http://{server.http_address}") as http,
    ):
        asked = {"access-control-request-method": "POST", "access-control-request-headers": "x-api-key, content-type"}
        good = http.options(V1, headers={"origin": "https://good.example", **asked})
        assert (good.status_code, good.headers["access-control-allow-origin"]) == (200, "https://good.example")
        bad = http.options(V1, headers={"origin": "https://bad.example", **asked})
        assert (bad.status_code, "access-control-allow-origin" in bad.headers) == (400, False)
        told = http.post(V1, headers={"origin": "https://good.example"})
        assert told.headers["access-control-allow-origin"] == "https://good.example"
        assert "x-request-id" in told.headers["access-control-expose-headers"]


def test_the_docs_name_every_call_and_load_nothing_from_elsewhere(http: httpx.Client) -> None:
    page = http.get("/docs")
    described = http.get("/openapi.json").json()
    assert described["paths"].keys() == {
        V1,
        V2,
        "/v2/requests/{request_id}",
        "/v2/requests/{request_id}/status",
        "/v2/requests/{request_id}/output.{ending}",
        "/healthz",
    }
    for path in described["paths"]:
        assert path in page.text
    for name in ("threshold", "number 0..1, default 0.2", "stop_on_empty_mask", "integer -1..999999999999999"):
        assert name in page.text
    assert "://" not in page.text
    assert "<script" not in page.text
    for link in ("/static/docs.css", "/static/icon.svg"):
        assert link[1:] in page.text
        assert http.get(link).status_code == 200


def test_a_request_repeated_with_its_idempotency_key_is_the_same(http: httpx.Client, image: str) -> None:
    headers = {"idempotency-key": "once"}
    first = submit(http, image, headers=headers)
    assert submit(http, image, headers=headers)["request_id"] == first["request_id"]
    assert submit(http, image)["request_id"] != first["request_id"]


def test_over_grpc_it_is_the_same_request(tmp_path: Path, photo: bytes, image: str) -> None:
    with (
        serving(tmp_path, http_port=0) as server,
        httpx.Client(base_url=f"http://{server.http_address}") as http,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = MaskServiceStub(channel)
        told = submit(http, image)
        wanted = messages.GetResultRequest(request_id=told["request_id"], wait=PATIENCE)
        response = stub.GetResult(wanted).response
        output = http.get(told["response_url"]).json()["output"]
        assert http.get(output).content == response.results[0].media[0].data
        task = mask_pb2.MaskTask(
            image=mask_pb2.Image(encoded=photo), prompts=["cup"], formats=[mask_pb2.OUTPUT_FORMAT_ALPHA_WEBP]
        )
        for formats, ending in (
            ([mask_pb2.OUTPUT_FORMAT_ALPHA_WEBP], "webp"),
            ([mask_pb2.OUTPUT_FORMAT_POLYGONS], None),
        ):
            del task.formats[:]
            task.formats.extend(formats)
            request_id = stub.Submit(messages.SubmitRequest(task=task)).status.request_id
            wait(server.address, request_id)
            output = http.get(f"/v2/requests/{request_id}").json()["output"]
            if ending is None:
                assert output is None
            else:
                assert http.get(output).headers["content-type"] == f"image/{ending}"
                assert http.get(output.replace(ending, "png")).status_code == 404


def test_the_output_is_gone_with_the_result(tmp_path: Path, image: str) -> None:
    with (
        serving(tmp_path, http_port=0, retention="1s") as server,
        httpx.Client(base_url=f"http://{server.http_address}") as http,
        grpc.insecure_channel(server.address) as channel,
    ):
        told = submit(http, image)
        for _ in MaskServiceStub(channel).WatchStatus(messages.WatchStatusRequest(request_id=told["request_id"])):
            pass
        output = f"{told['response_url']}/output.png"
        while http.get(output).status_code == 200:
            pass
        assert {http.get(url).status_code for url in (output, told["status_url"], told["response_url"])} == {404}


def test_the_url_of_the_output_is_a_secret_of_its_key(tmp_path: Path, image: str) -> None:
    with (
        closing(KeyFile(tmp_path / "keys", create=True)) as keys,
        serving(tmp_path, http_port=0, keys=tmp_path / "keys") as server,
        httpx.Client(base_url=f"http://{server.http_address}") as http,
    ):
        key, other = keys.add("mine"), keys.add("other")
        mine, others = {"x-api-key": key}, {"x-api-key": other}
        first, second = submit(http, image, headers=mine), submit(http, image, headers=others)
        for told, owner in ((first, key), (second, other)):
            wait(server.address, told["request_id"], owner)
        url = http.get(first["response_url"], headers=mine).json()["output"]
        foreign = http.get(second["response_url"], headers=others).json()["output"]
        assert http.get(url).headers["content-type"] == "image/png"
        assert key not in url
        bare = url.partition("?")[0]
        for wrong in (
            bare,
            f"{bare}?{foreign.partition('?')[2]}",
            url.replace(first["request_id"], second["request_id"]),
            url.replace("key=mine", "key=other"),
            url.replace("key=mine", "key=nobody"),
            url[:-1],
            f"{bare}?key=mine&signature=%C3%A9",
        ):
            assert http.get(wrong).status_code == 401, wrong
        assert http.get(bare, headers=mine).status_code == 401
        assert http.get(first["response_url"]).status_code == 401
        assert http.get(first["response_url"], headers=others).status_code == 404
        keys.remove("mine")
        assert http.get(url).status_code == 401


def test_keys_are_asked_for_before_the_body_and_health_asks_for_none(tmp_path: Path, image: str) -> None:
    with (
        closing(KeyFile(tmp_path / "keys", create=True)) as keys,
        serving(tmp_path, http_port=0, keys=tmp_path / "keys") as server,
        httpx.Client(base_url=f"http://{server.http_address}") as http,
    ):
        keys.add("any")
        refused = http.post(V1, content=b"no JSON")
        assert (refused.status_code, refused.json()["reason"]) == (401, "UNAUTHENTICATED")
        assert http.post(V1, json={"image": image, "prompt": "cup"}, headers={"x-api-key": "wrong"}).status_code == 401
        assert http.get("/healthz").json() == {"status": "serving"}
        limited = {"x-api-key": keys.add("one", credits=1)}
        body = {"image": image, "prompt": "cup"}
        assert http.post(V1, json={**body, "prompt": "unobtainium"}, headers=limited).status_code == 400
        assert http.post(V1, json=body, headers=limited).headers["x-remaining-credits"] == "0"
        assert http.post(V2, json=body, headers=limited).status_code == 406
        endless = {"x-api-key": keys.add("endless")}
        assert http.post(V1, json=body, headers=endless).headers["x-remaining-credits"] == "inf"


def test_forwarded_headers_count_from_trusted_proxies_alone(tmp_path: Path, image: str) -> None:
    told = {
        "x-forwarded-host": "api.example:8443",
        "x-forwarded-proto": "https",
        "x-forwarded-prefix": "/masks/",
        "x-forwarded-for": "203.0.113.5",
    }
    with (
        serving(tmp_path / "a", http_port=0, trusted_proxies="127.0.0.0/8") as trusting,
        serving(tmp_path / "b", http_port=0, trusted_proxies="10.0.0.0/8") as wary,
        serving(tmp_path / "c", http_port=0, public_url="https://masks.example/ai/") as named,
        httpx.Client() as http,
    ):
        body = {"image": image, "prompt": "cup"}

        def base(address: str, headers: dict[str, str]) -> str:
            answer = http.post(f"http://{address}{V2}", json=body, headers=headers).json()
            return str(answer["status_url"]).partition("/v2/")[0]

        assert base(trusting.http_address, told) == "https://api.example:8443/masks"
        assert base(wary.http_address, told) == f"http://{wary.http_address}"
        assert base(named.http_address, told) == "https://masks.example/ai"
        assert base(trusting.http_address, {}) == f"http://{trusting.http_address}"
        for wrong in (
            {"x-forwarded-host": "evil.example/path?"},
            {"x-forwarded-prefix": "//evil.example"},
            {"x-forwarded-prefix": "no/slash"},
            {"x-forwarded-proto": "javascript"},
        ):
            assert base(trusting.http_address, wrong) == f"http://{trusting.http_address}"


@pytest.fixture(scope="module")
def slow(segmenter: automask.Segmenter, photo: bytes) -> messages.GenerateRequest:
    """Keeps a worker busy for minutes."""
    task = mask_pb2.MaskTask(
        image=mask_pb2.Image(encoded=photo),
        prompts=segmenter.vocabulary[:64],
        parameters=mask_pb2.MaskParameters(threshold=0),
    )
    return messages.GenerateRequest(task=task)


def keep_busy(channel: grpc.Channel, keys: KeyFile, slow: messages.GenerateRequest) -> Any:
    """Give the one worker something to do, and return once it is let in."""
    metadata = (("x-api-key", keys.add("busy", credits=1)),)
    call = MaskServiceStub(channel).Generate.future(slow, metadata=metadata)
    while keys.credits("busy") != 0:
        pass
    return call


def test_what_takes_too_long_is_a_504_and_gives_its_credit_back(
    tmp_path: Path, image: str, slow: messages.GenerateRequest
) -> None:
    with (
        closing(KeyFile(tmp_path / "keys", create=True)) as keys,
        serving(tmp_path, http_port=0, http_timeout="500ms", workers=1, keys=tmp_path / "keys") as server,
        httpx.Client(base_url=f"http://{server.http_address}", timeout=60) as http,
        grpc.insecure_channel(server.address) as channel,
    ):
        busy = keep_busy(channel, keys, slow)
        key = {"x-api-key": keys.add("late", credits=1)}
        late = http.post(V1, json={"image": image, "prompt": "cup"}, headers=key)
        assert (late.status_code, late.json()["error"]) == (
            504,
            "not done within 0.5 s (`automask serve --http-timeout`)",
        )
        busy.cancel()
        assert keys.credits("late") == 1
        host, _, port = server.http_address.rpartition(":")
        with socket.create_connection((host, int(port))) as loris:
            loris.sendall(f"POST {V1} HTTP/1.1\r\nhost: a\r\nx-api-key: {key['x-api-key']}\r\n".encode())
            loris.sendall(b"content-length: 1000\r\n\r\n{")
            assert b" 504 " in loris.recv(4096)


def test_a_client_that_goes_away_stops_the_work(tmp_path: Path, image: str, slow: messages.GenerateRequest) -> None:
    with (
        closing(KeyFile(tmp_path / "keys", create=True)) as keys,
        serving(tmp_path, http_port=0, workers=1, keys=tmp_path / "keys") as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        busy = keep_busy(channel, keys, slow)
        key = keys.add("gone", credits=1)
        body = json.dumps({"image": image, "prompt": "cup"}).encode()
        host, _, port = server.http_address.rpartition(":")
        with socket.create_connection((host, int(port))) as leaver:
            leaver.sendall(
                f"POST {V1} HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            )
            leaver.sendall(body)
            while keys.credits("gone") != 0:
                pass
        while keys.credits("gone") != 1:
            pass
        busy.cancel()


def test_the_log_has_each_call_once_and_never_its_key_or_photo(tmp_path: Path, image: str) -> None:
    with closing(KeyFile(tmp_path / "keys", create=True)) as keys:
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
        with httpx.Client(base_url=f"http://{address}", headers={"x-api-key": key}) as http:
            answers = [
                http.post(V1, json={"image": image, "prompt": "cup"}),
                http.post(V1, json={"image": image, "prompt": "cup", "threshold": 7}),
                http.get("/v2/requests/unknown/status"),
                http.get("/nothing/at/all"),
                http.post(V1, json={}, headers={"x-api-key": "a-wrong-one"}),
            ]
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port))) as pipeline:
            first = f"GET /v2/requests/unknown HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\n\r\n"
            pipeline.sendall(f"{first}GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())
            while pipeline.recv(4096):
                pass
        metrics = httpx.get(
            f"http://{next(e for e in process.events if e['event'] == 'serving')['metrics']}/metrics"
        ).text
        assert process.end() == 0
    calls = [event for event in process.events if event["event"] == "call"]
    assert [call["request_id"] for call in calls[:-2]] == [answer.headers["x-request-id"] for answer in answers]
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


def test_at_the_end_what_runs_is_answered_and_what_comes_is_refused(tmp_path: Path, image: str) -> None:
    options = ("--port", 0, "--http-port", 0, "--store", tmp_path / "s", "--workers", 1, "--drain", "1h")
    with ServerProcess(*options) as process:
        host, _, port = process.http_address.rpartition(":")
        body = json.dumps({"image": image, "prompt": "cup"}).encode()
        head = f"POST {V1} HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        with (
            socket.create_connection((host, int(port))) as running,
            httpx.Client(base_url=f"http://{process.http_address}") as http,
        ):
            running.sendall(head + body[:-1])  # a call that cannot end yet
            assert http.get("/healthz").status_code == 200
            ended: list[int] = []
            stopping = Thread(target=lambda: ended.append(process.end()))
            stopping.start()
            while (answer := http.get("/healthz")).status_code == 200:
                pass
            assert (answer.status_code, answer.json()["reason"]) == (502, "UNAVAILABLE")
            assert answer.headers["retry-after"] == "1"
            # Also those who come anew, for as long as anything runs.
            assert {httpx.get(f"http://{process.http_address}/healthz").status_code for _ in range(200)} == {502}
            running.sendall(body[-1:])
            assert running.recv(4096).startswith(b"HTTP/1.1 200 "), "it was let in before"
        stopping.join()
    assert ended == [0]


def test_what_does_not_end_while_the_server_drains_is_told_so(tmp_path: Path) -> None:
    options = ("--port", 0, "--http-port", 0, "--store", tmp_path / "s", "--drain", "100ms")
    with ServerProcess(*options) as process:
        host, _, port = process.http_address.rpartition(":")
        with (
            socket.create_connection((host, int(port))) as stuck,
            httpx.Client(base_url=f"http://{process.http_address}") as http,
        ):
            stuck.sendall(f"POST {V1} HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n{{".encode())
            assert http.get("/healthz").status_code == 200
            assert process.end() == 0
            assert stuck.recv(4096).startswith(b"HTTP/1.1 502 ")
    assert not [event for event in process.events if event["level"] == "error"]


def test_while_models_load_calls_are_refused(tmp_path: Path) -> None:
    seen: list[httpx.Response] = []
    command = [sys.executable, "-m", "automask", "serve", "--log-json", "--port", "0", "--http-port", "0"]
    with subprocess.Popen(
        [*command, "--store", str(tmp_path / "s"), "--device", "cpu"], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        address = json.loads(process.stderr.readline())["http"]
        while not seen or seen[-1].status_code != 200:
            seen.append(httpx.get(f"http://{address}/healthz"))
        process.terminate()
        process.stderr.read()
    assert (seen[0].status_code, seen[0].headers["retry-after"]) == (502, "1")
    assert seen[0].json()["error"] == "the server is loading its models"


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "automask", "serve", "--port", "0", "--http-port", str(port)]
        done = subprocess.run([*command, "--store", str(tmp_path / "s")], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port} for HTTP: Address already in use" in done.stderr
