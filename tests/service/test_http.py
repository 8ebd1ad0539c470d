"""The hosted API over HTTP, against a real server: bodies, responses, errors, security headers and keys."""

from __future__ import annotations

import base64
import io
import json
import re
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from numpy.typing import NDArray
from PIL import Image

from automask.service.keys.sqlite import SqliteKeyStore
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceStub
from support.threaded_server import serving, wait_until

V1, V2 = "/v1/automatic-mask-generator", "/v2/automatic-mask-generator"
PATIENCE = Duration(seconds=60)


@pytest.fixture(scope="module")
def image(jpeg: bytes) -> str:
    return base64.b64encode(jpeg).decode()


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a server without keys and without URL fetches."""
    settings: dict[str, Any] = {"http_port": 0, "fetch_urls": "off", "max_image_mb": 0.3, "decode_processes": 1}
    with (
        serving(tmp_path_factory.mktemp("open"), **settings) as server,
        httpx.Client(base_url=f"http://{server.http_address}", timeout=60) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, SqliteKeyStore]]:
    """A client of a server with keys, and the keys."""
    folder = tmp_path_factory.mktemp("keyed")
    with (
        closing(SqliteKeyStore(folder / "keys", create=True)) as keys,
        serving(folder, http_port=0, keys=folder / "keys") as server,
        httpx.Client(base_url=f"http://{server.http_address}", timeout=60) as client,
    ):
        yield client, keys


def submit(http: httpx.Client, image: str, **more: Any) -> dict[str, Any]:
    response = http.post(V2, json={"image": image, "prompt": "cup"}, **more)
    assert response.status_code == 200, response.text
    reply: dict[str, Any] = response.json()
    return reply


def wait(grpc_address: str, request_id: str, key: str = "") -> None:
    """Wait for the end of a request without polling."""
    with grpc.insecure_channel(grpc_address) as channel:
        request = messages.GetResultRequest(request_id=request_id, wait=PATIENCE)
        MaskServiceStub(channel).GetResult(request, metadata=(("x-api-key", key),))


def test_every_content_type_gives_the_same_picture(http: httpx.Client, jpeg: bytes, image: str) -> None:
    texts = {"prompt": "cup", "grow_mask": "3", "invert_mask": "true"}
    responses = [
        http.post(V1, json={"image": image, "prompt": "cup", "grow_mask": 3, "invert_mask": True}),
        http.post(V1, data={"image": image, **texts}),
        http.post(V1, data=texts, files={"image": ("room.jpg", jpeg, "image/jpeg")}),
        http.post(V1, data={"image": image, **texts}, files={"unused": b""}),
        http.post(V1, content=json.dumps({"image": image, **texts})),
        http.post(f"/v1/models{V1[3:]}", json={"image": image, **texts}),
    ]
    assert [response.status_code for response in responses] == [200] * len(responses)
    assert len({response.content for response in responses}) == 1
    assert {response.headers["content-type"] for response in responses} == {"image/png"}
    assert responses[3].headers["x-warnings"] == "unknown parameter, ignored: unused"
    assert "x-warnings" not in responses[0].headers


@pytest.mark.parametrize(
    ("wanted", "mode"), [({}, "L"), ({"return_alpha": True}, "RGBA"), ({"return_mask": False}, "RGB")]
)
def test_mask_alpha_or_preview(http: httpx.Client, image: str, wanted: dict[str, bool], mode: str) -> None:
    response = http.post(V1, json={"image": image, "prompt": "cup", **wanted})
    with Image.open(io.BytesIO(response.content)) as picture:
        assert (picture.mode, picture.size) == (mode, (600, 400))


def test_an_upload_is_not_written_to_disk(
    tmp_path: Path, coffee: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six megabytes, which Starlette would write to a temporary file."""
    file = io.BytesIO()
    Image.fromarray(np.tile(coffee, (3, 3, 1))).save(file, "BMP")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with serving(tmp_path, http_port=0) as server:
        url = f"http://{server.http_address}{V1}"
        response = httpx.post(url, data={"prompt": "cup"}, files={"image": file.getvalue()}, timeout=60)
    assert response.status_code == 200, response.text


def test_exclude_is_left_out_of_the_mask(http: httpx.Client, image: str) -> None:
    body = {"image": image, "prompt": "cup, dining table", "grow_mask": 0, "edges": "model"}
    whole, less, table = (
        np.asarray(Image.open(io.BytesIO(http.post(V1, json={**body, **more}).content)))
        for more in ({}, {"exclude": "cup"}, {"prompt": "dining table", "exclude": "cup"})
    )
    assert np.count_nonzero(whole) > np.count_nonzero(less) > 0
    np.testing.assert_array_equal(less, table)
    refused = http.post(V1, json={**body, "exclude": "unobtainium"})
    assert (refused.status_code, refused.json()["reason"]) == (400, "UNKNOWN_PROMPT")


def test_every_response_names_unknown_parameters(http: httpx.Client, image: str) -> None:
    body = {"image": image, "prompt": "cup", "steps": 20, "größe": 1}
    named = ["unknown parameter, ignored: steps", "unknown parameter, ignored: größe"]
    assert http.post(V1, json={**body, "base64": True}).json()["warnings"] == named
    assert http.post(V1, json=body).headers["x-warnings"].startswith(f"{named[0]}; unknown parameter, ignored: gr")
    reply = http.post(V2, json=body).json()
    assert reply["warnings"] == named
    assert http.get(reply["response_url"]).json()["warnings"] == named


@pytest.mark.parametrize(
    ("content", "kind", "sentence"),
    [
        (b"{", "application/json", "body must be JSON or a form (Expecting property name"),
        (b"\xff\xd8\xff", "image/jpeg", "body must be JSON or a form ("),
        (b"[1]", "application/json", "body must be a JSON object, got '[1]'"),
        (b"", "", "body must be JSON or a form (Expecting value"),
        (b"[" * 60_000, "application/json", "body must be JSON without deep nesting, got '[[["),
        (
            b"[" * 100_000,
            "application/json",
            "body must have at most 65,536 bytes besides the image, got '100,000 in all'",
        ),
        (b"what", "multipart/form-data", "body must be a valid form (Missing boundary"),
        (b"what", "multipart/form-data; boundary=b", "body must be a valid form ("),
        (b"{}", "application/json", "image is missing: send a data: URI"),
        (b'{"image": "a.jpg", "prompt": "cup"}', "application/json", "image must be a data: URI, base64"),
        (b'{"image": "http://127.0.0.1/", "prompt": "cup"}', "application/json", "this server does not fetch"),
        (b'{"image": "bm90IGFuIGltYWdl", "prompt": "cup"}', "application/json", "not an image: starts with"),
    ],
)
def test_a_malformed_body_is_a_400_with_the_reason(
    http: httpx.Client, content: bytes, kind: str, sentence: str
) -> None:
    response = http.post(V1, content=content, headers={"content-type": kind})
    reply = response.json()
    assert (response.status_code, response.headers["content-type"]) == (400, "application/json")
    assert reply["request_id"] == response.headers["x-request-id"]
    assert reply["reason"] in {"INVALID_PARAMETER", "INVALID_IMAGE"}
    assert sentence in reply["error"]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"prompt": "cup \ud800"}, "prompt must be Unicode text, without lone surrogates, got 'cup \\ud800'"),
        ({"exclude": "\udfff"}, "exclude must be Unicode text, without lone surrogates, got '\\udfff'"),
        ({"model": "\ud800\ud800"}, "model must be Unicode text, without lone surrogates, got "),
        ({"threshold": 10**400}, "threshold must be a number in [0, 1], got 'an integer of 1329 bits'"),
        ({"threshold": "9" * 400}, "threshold must be a number in [0, 1], got inf"),
        ({"seed": -(10**400)}, "seed must be an integer in [-1, 999999999999999], got 'an integer of 1329 bits'"),
        ({"": 1}, "the name of each parameter must be Unicode text that is not blank, got ''"),
        ({" ": "x"}, "the name of each parameter must be Unicode text that is not blank, got ' '"),
        ({"\ud800": 1}, "the name of each parameter must be Unicode text that is not blank, got '\\ud800'"),
    ],
)
@pytest.mark.parametrize("path", [V1, V2])
def test_what_no_response_could_repeat_is_a_400_and_costs_nothing(
    keyed: tuple[httpx.Client, SqliteKeyStore], image: str, path: str, fields: dict[str, Any], sentence: str
) -> None:
    http, keys = keyed
    name = uuid.uuid4().hex
    headers = {"x-api-key": keys.add(name, credits=5), "content-type": "application/json"}
    response = http.post(path, content=json.dumps({"image": image, "prompt": "cup", **fields}), headers=headers)
    assert keys.credits(name) == 5
    assert (response.status_code, response.json()["reason"]) == (400, "INVALID_PARAMETER")
    assert sentence in response.json()["error"]


def test_a_blank_at_the_end_of_an_unknown_name_is_not_in_the_header(http: httpx.Client, image: str) -> None:
    response = http.post(V1, json={"image": image, "prompt": "cup", "steps ": 1})
    assert (response.status_code, response.headers["x-warnings"]) == (200, "unknown parameter, ignored: steps")


def test_both_paths_reject_values_out_of_range(http: httpx.Client, image: str) -> None:
    for path in (V1, V2):
        response = http.post(path, json={"image": image, "prompt": "cup", "grow_mask": 500})
        assert (response.status_code, response.json()["error"]) == (
            400,
            "grow_mask must be an integer in [0, 100], got 500",
        )
        response = http.post(path, json={"image": image, "prompt": "unobtainium"})
        assert (response.status_code, response.json()["reason"]) == (400, "UNKNOWN_PROMPT")
        response = http.post(path, json={"image": image, "prompt": "cup", "model": "none"})
        assert (response.status_code, response.json()["reason"]) == (404, "NOT_FOUND")


def test_too_large_bodies_and_images_are_rejected(http: httpx.Client) -> None:
    sentence = "the body is larger than 485,536 bytes"
    declared = http.post(V1, content=b"x" * 3_000_000)
    assert (declared.status_code, declared.json()["reason"]) == (400, "INVALID_IMAGE")
    assert sentence in declared.json()["error"]
    undeclared = http.post(V1, content=iter([b"x" * 100_000] * 30), headers={"content-type": "application/json"})
    assert undeclared.status_code == 400
    assert sentence in undeclared.json()["error"]
    image = base64.b64encode(b"\xff\xd8\xff" + bytes(300_000)).decode()
    response = http.post(V1, json={"image": image, "prompt": "cup"})
    assert response.status_code == 400
    assert "image has 300,003 bytes, this server takes 300,000 at most" in response.json()["error"]


def test_unknown_paths_and_methods(http: httpx.Client) -> None:
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
        response = http.request(method, path)
        assert response.status_code == status, path
        assert response.json()["error"]
        assert response.json()["request_id"] == response.headers["x-request-id"]


def test_every_response_has_security_headers_and_no_cors_headers(http: httpx.Client, image: str) -> None:
    body = {"image": image, "prompt": "cup"}
    headers = {"origin": "https://elsewhere.example"}
    for response in (
        http.post(V1, json=body),
        http.post(V2, json=body),
        http.post(V1, json=body, headers=headers),
        http.post(V1, headers=headers),
        http.get("/healthz", headers=headers),
        http.get("/docs", headers=headers),
        http.get("/", headers=headers),
        http.get("/nothing", headers=headers),
        http.options(V1, headers={**headers, "access-control-request-method": "POST"}),
    ):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["cache-control"] in {"no-store", "no-cache"}
        assert not [name for name in response.headers if name.startswith("access-control-")]
        assert "server" not in response.headers


def test_allowed_origins(tmp_path: Path) -> None:
    with (
        serving(tmp_path, http_port=0, cors_origins="https://good.example") as server,
        httpx.Client(base_url=f"http://{server.http_address}", timeout=60) as http,
    ):
        preflight = {
            "access-control-request-method": "POST",
            "access-control-request-headers": "x-api-key, content-type",
        }
        good = http.options(V1, headers={"origin": "https://good.example", **preflight})
        assert (good.status_code, good.headers["access-control-allow-origin"]) == (200, "https://good.example")
        bad = http.options(V1, headers={"origin": "https://bad.example", **preflight})
        assert (bad.status_code, "access-control-allow-origin" in bad.headers) == (400, False)
        reply = http.post(V1, headers={"origin": "https://good.example"})
        assert reply.headers["access-control-allow-origin"] == "https://good.example"
        assert "x-request-id" in reply.headers["access-control-expose-headers"]


def test_openapi_describes_every_call(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    assert document["paths"].keys() == {
        V1,
        V2,
        "/v2/requests/{request_id}",
        "/v2/requests/{request_id}/status",
        "/v2/requests/{request_id}/output.{ending}",
        "/healthz",
    }
    (scheme,) = document["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "x-api-key")
    for path in (V1, V2):
        bodies = document["paths"][path]["post"]["requestBody"]["content"]
        assert bodies.keys() == {"application/json", "multipart/form-data", "application/x-www-form-urlencoded"}
        assert bodies["multipart/form-data"]["schema"]["properties"]["image"]["format"] == "binary"
        for body in bodies.values():
            properties = body["schema"]["properties"]
            assert properties["threshold"]["default"] == 0.2
            assert (properties["threshold"]["minimum"], properties["threshold"]["maximum"]) == (0, 1)
            assert (properties["seed"]["minimum"], properties["seed"]["maximum"]) == (-1, 999999999999999)
            assert "stop_on_empty_mask" in properties


def test_the_docs_load_nothing_from_another_host(http: httpx.Client) -> None:
    page = http.get("/docs").text
    assert "://" not in page
    assert "<script>" not in page
    links = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert len(links) == 5
    for link in links:
        assert http.get(f"/{link}").status_code == 200


def test_an_idempotency_key_gives_the_same_request_again(http: httpx.Client, image: str) -> None:
    headers = {"idempotency-key": "once"}
    first = submit(http, image, headers=headers)
    assert submit(http, image, headers=headers)["request_id"] == first["request_id"]
    assert submit(http, image)["request_id"] != first["request_id"]


def test_grpc_sees_the_same_request(tmp_path: Path, jpeg: bytes, image: str) -> None:
    with (
        serving(tmp_path, http_port=0) as server,
        httpx.Client(base_url=f"http://{server.http_address}", timeout=60) as http,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = MaskServiceStub(channel)
        reply = submit(http, image)
        wanted = messages.GetResultRequest(request_id=reply["request_id"], wait=PATIENCE)
        response = stub.GetResult(wanted).response
        output = http.get(reply["response_url"]).json()["output"]
        assert http.get(output).content == response.results[0].media[0].data
        task = mask_pb2.MaskTask(
            image=mask_pb2.Image(encoded=jpeg), prompts=["cup"], formats=[mask_pb2.OUTPUT_FORMAT_ALPHA_WEBP]
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


def test_the_output_expires_with_the_result(tmp_path: Path, image: str) -> None:
    with (
        serving(tmp_path, http_port=0, retention="1s") as server,
        httpx.Client(base_url=f"http://{server.http_address}", timeout=60) as http,
    ):
        reply = submit(http, image)
        output = f"{reply['response_url']}/output.png"
        wait_until(lambda: http.get(reply["status_url"]).status_code == 404)
        assert {http.get(url).status_code for url in (output, reply["status_url"], reply["response_url"])} == {404}


def test_the_url_of_the_output_is_signed_by_its_key(tmp_path: Path, image: str) -> None:
    with (
        closing(SqliteKeyStore(tmp_path / "keys", create=True)) as keys,
        serving(tmp_path, http_port=0, keys=tmp_path / "keys") as server,
        httpx.Client(base_url=f"http://{server.http_address}", timeout=60) as http,
    ):
        key, other = keys.add("mine"), keys.add("other")
        mine, others = {"x-api-key": key}, {"x-api-key": other}
        first, second = submit(http, image, headers=mine), submit(http, image, headers=others)
        for reply, owner in ((first, key), (second, other)):
            wait(server.address, reply["request_id"], owner)
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


def test_keys_are_checked_before_the_body_and_health_needs_none(tmp_path: Path, image: str) -> None:
    with (
        closing(SqliteKeyStore(tmp_path / "keys", create=True)) as keys,
        serving(tmp_path, http_port=0, keys=tmp_path / "keys") as server,
        httpx.Client(base_url=f"http://{server.http_address}", timeout=60) as http,
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
