"""The OpenAPI document, held against real responses: bodies, errors, headers and the security scheme."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import jsonschema
import pytest

from automask.service.keys.sqlite import SqliteKeyStore
from support.threaded_server import serving, wait_until

V1, V2 = "/v1/automatic-mask-generator", "/v2/automatic-mask-generator"
REQUEST = "/v2/requests/{request_id}"


class Api:
    """A server with keys, and its OpenAPI document."""

    def __init__(self, http: httpx.Client, poor: str) -> None:
        self.http, self.poor = http, poor
        self.document: dict[str, Any] = http.get("/openapi.json").json()

    def check(self, response: httpx.Response, path: str) -> Any:
        """Check a response against the document, and return its body: no status, field or header is left out."""
        operation = self.document["paths"][path][response.request.method.lower()]
        described = operation["responses"][str(response.status_code)]
        kind = response.headers["content-type"].partition(";")[0]
        schema = described["content"][kind]["schema"]
        assert {name for name in response.headers if name.startswith("x-")} <= {
            *described.get("headers", {}),
            "x-request-id",
            "x-content-type-options",
        }
        if kind != "application/json":
            assert schema == {"type": "string", "format": "binary"}
            return response.content
        jsonschema.validate(response.json(), self._strict(schema))
        if response.status_code >= 400 and response.status_code != 422:
            assert response.json()["reason"] in described["description"].split(", ")
        return response.json()

    def _strict(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return a schema that refuses fields without a description."""
        schemas = {name: {**one, "additionalProperties": False} for name, one in self._schemas.items()}
        return {**schema, "components": {"schemas": schemas}}

    @property
    def _schemas(self) -> dict[str, Any]:
        found: dict[str, Any] = self.document["components"]["schemas"]
        return found


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("api")
    with closing(SqliteKeyStore(folder / "keys.sqlite3", create=True)) as keys:
        rich, poor = keys.add("rich"), keys.add("poor", credits=0)
    with (
        serving(folder, http_port=0, keys=folder / "keys.sqlite3", allowed_hosts=("127.0.0.1",)) as server,
        httpx.Client(base_url=f"http://{server.http_address}", timeout=60, headers={"x-api-key": rich}) as http,
    ):
        yield Api(http, poor)


@pytest.fixture(scope="module")
def body(jpeg: bytes) -> dict[str, Any]:
    return {"image": base64.b64encode(jpeg).decode(), "prompt": "cup"}


def test_a_picture_and_its_json_are_as_described(api: Api, body: dict[str, Any]) -> None:
    assert api.check(api.http.post(V1, json={**body, "unknown": 1}), V1).startswith(b"\x89PNG")
    assert api.check(api.http.post(V1, json={**body, "base64": True}), V1)["image"]


@pytest.mark.parametrize(
    ("status", "more"),
    [
        (400, {"threshold": 2}),
        (400, {"image": "no image"}),
        (400, {"prompt": "unobtainium"}),
        (400, {"prompt": "dog", "stop_on_empty_mask": True}),
        (400, {"exclude": ["cup", "spoon"]}),
        (404, {"model": "another"}),
    ],
)
def test_errors_of_a_body_are_as_described(api: Api, body: dict[str, Any], status: int, more: dict[str, Any]) -> None:
    response = api.http.post(V1, json={**body, **more})
    assert response.status_code == status
    api.check(response, V1)


@pytest.mark.parametrize(
    ("method", "path", "status", "headers"),
    [
        ("POST", V1, 401, {"x-api-key": "none"}),
        ("POST", V1, 403, {"origin": "http://other.example"}),
        ("POST", V2, 401, {"x-api-key": "none"}),
        ("POST", V2, 403, {"origin": "http://other.example"}),
        ("GET", REQUEST, 400, {"host": "rebound.example"}),
        ("GET", REQUEST, 401, {"x-api-key": "none"}),
        ("GET", f"{REQUEST}/status", 400, {"host": "rebound.example"}),
        ("GET", f"{REQUEST}/status", 401, {"x-api-key": "none"}),
    ],
)
def test_refused_callers_are_as_described(
    api: Api, method: str, path: str, status: int, headers: dict[str, str]
) -> None:
    response = api.http.request(method, path.format(request_id="r"), headers=headers)
    assert response.status_code == status
    api.check(response, path)


def test_a_key_without_credits_is_as_described(api: Api, body: dict[str, Any]) -> None:
    response = api.http.post(V2, json=body, headers={"x-api-key": api.poor})
    assert response.status_code == 406
    api.check(response, V2)


def test_a_submitted_request_is_as_described(api: Api, body: dict[str, Any]) -> None:
    submitted = api.check(api.http.post(V2, json=body, headers={"Idempotency-Key": "once"}), V2)
    (header,) = api.document["paths"][V2]["post"]["parameters"]
    assert (header["name"], header["in"]) == ("Idempotency-Key", "header")
    api.check(api.http.get(submitted["response_url"]), REQUEST)
    wait_until(lambda: api.http.get(submitted["status_url"]).json()["status"] == "COMPLETED")
    api.check(api.http.get(submitted["status_url"]), f"{REQUEST}/status")
    result = api.check(api.http.get(submitted["response_url"]), REQUEST)
    output = f"{REQUEST}/output.{{ending}}"
    assert api.check(api.http.get(result["output"]), output).startswith(b"\x89PNG")
    assert api.check(api.http.get(result["output"].partition("?")[0]), output)["reason"] == "UNAUTHENTICATED"


def test_a_failed_request_is_as_described(api: Api) -> None:
    image = base64.b64encode(b"\xff\xd8\xff").decode()
    submitted = api.check(api.http.post(V2, json={"image": image, "prompt": "cup"}), V2)
    wait_until(lambda: api.http.get(submitted["status_url"]).status_code == 422)
    assert api.check(api.http.get(submitted["status_url"]), f"{REQUEST}/status")["status"] == "FAILED"
    assert api.check(api.http.get(submitted["response_url"]), REQUEST)["output"] is None


def test_an_unknown_request_and_the_health_are_as_described(api: Api) -> None:
    assert api.check(api.http.get(REQUEST.format(request_id="none")), REQUEST)["reason"] == "NOT_FOUND"
    assert api.check(api.http.get("/healthz"), "/healthz") == {"status": "serving"}


def test_the_document_describes_no_validation_error_of_fastapi(api: Api) -> None:
    assert not {"HTTPValidationError", "ValidationError"} & api.document["components"]["schemas"].keys()
    for path, operations in api.document["paths"].items():
        for operation in operations.values():
            assert ("security" in operation) == (path not in {f"{REQUEST}/output.{{ending}}", "/healthz"})


def test_exclude_is_one_text_in_every_body(api: Api) -> None:
    for path in (V1, V2):
        for content in api.document["paths"][path]["post"]["requestBody"]["content"].values():
            exclude = content["schema"]["properties"]["exclude"]
            assert (exclude["type"], exclude["maxLength"], exclude["default"]) == ("string", 1000, "")
            assert "not grown" in exclude["description"]
