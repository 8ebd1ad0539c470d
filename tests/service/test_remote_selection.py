"""A box, points and picked instances through gRPC, both clients, HTTP and the wire: the masks of the library."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import automask
from automask import ParameterError
from automask.selection import Selection
from automask.service import AsyncClient, Client
from automask.service.core.task import Task
from automask.service.http.forms import parse_form
from automask.service.wire.tasks import decode_task, encode_message, encode_task
from automask.v1 import mask_pb2
from support.threaded_server import serving

BOX = (448, 250, 530, 325)
POINTS: list[tuple[float, float, int]] = [(300, 180, 0), (560.5, 350.5, 1)]
CASES: list[tuple[str | None, dict[str, Any]]] = [
    (None, {"box": BOX}),
    (None, {"points": [(300, 180, 1)]}),
    (None, {"box": BOX, "points": [(500, 300, 1)]}),
    ("cup", {"points": POINTS}),
    ("cup", {"box": BOX}),
    ("cup and table", {"drop": [0]}),
    ("cup and table", {"keep": [0], "points": POINTS}),
]
V1, V2 = "/v1/automatic-mask-generator", "/v2/automatic-mask-generator"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with serving(tmp_path_factory.mktemp("server"), http_port=0) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Any) -> Iterator[Client]:
    with Client(server.address) as client:
        yield client


@pytest.fixture(scope="module")
def http(server: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{server.http_address}", timeout=60) as client:
        yield client


@pytest.mark.parametrize(("prompt", "selected"), CASES)
def test_a_client_gets_the_mask_of_the_library(
    client: Client, segmenter: automask.Segmenter, jpeg: bytes, prompt: str | None, selected: dict[str, Any]
) -> None:
    expected = segmenter.mask(jpeg, prompt, **selected)
    for found in (client.mask(jpeg, prompt, **selected), *client.mask_many([jpeg], prompt, **selected)):
        np.testing.assert_array_equal(found.mask, expected.mask)
        assert found.instances == expected.instances
        assert (found.prompt, found.labels) == (expected.prompt, expected.labels)


def test_a_submitted_request_keeps_its_selection(client: Client, segmenter: automask.Segmenter, jpeg: bytes) -> None:
    found = client.submit(jpeg, "cup", points=POINTS).result(60)
    np.testing.assert_array_equal(found.mask, segmenter.mask(jpeg, "cup", points=POINTS).mask)
    failed = client.submit(jpeg, "cup", drop=[7])
    with pytest.raises(ParameterError, match="drop must hold indices below 1"):
        failed.result(60)


def test_the_async_client(server: Any, segmenter: automask.Segmenter, jpeg: bytes) -> None:
    async def masks() -> list[NDArray[np.uint8]]:
        async with AsyncClient(server.address) as client:
            job = await client.submit(jpeg, box=BOX)
            return [(await client.mask(jpeg, box=BOX)).mask, (await job.result(60)).mask]

    for mask in asyncio.run(masks()):
        np.testing.assert_array_equal(mask, segmenter.mask(jpeg, box=BOX).mask)


@pytest.mark.parametrize(
    ("prompt", "selected", "message"),
    [
        ("cup", {"box": (0, 0, 601, 400)}, "box must be inside the image, which is 600×400"),
        ("cup", {"keep": [1]}, "keep must hold indices below 1, because the prompt has 1 instances, got 1"),
        ("cup", {"points": [(1, 1, 2)]}, "points.0. must have the label 1"),
        (None, {"points": [(1, 1, 0)]}, "points must hold a point with label 1"),
        (["cup", "dog"], {"drop": [0]}, "prompt must be one prompt where drop is used"),
    ],
)
def test_an_error_is_that_of_the_library(
    client: Client, jpeg: bytes, prompt: Any, selected: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        client.mask(jpeg, prompt, **selected)


def picture(response: httpx.Response) -> NDArray[np.uint8]:
    assert response.status_code == 200, response.text
    return np.asarray(Image.open(io.BytesIO(response.content)), np.uint8)


@pytest.mark.parametrize(("prompt", "selected"), CASES)
def test_http_takes_arrays_and_text(
    http: httpx.Client, segmenter: automask.Segmenter, jpeg: bytes, prompt: str | None, selected: dict[str, Any]
) -> None:
    expected = segmenter.mask(jpeg, prompt, **selected).mask
    photo = {"image": ("room.jpg", jpeg, "image/jpeg")}
    named = {} if prompt is None else {"prompt": prompt}
    as_json = {name: json.dumps(value) for name, value in selected.items()}
    as_text = {
        name: ";".join(",".join(map(str, point)) for point in value) if name == "points" else ",".join(map(str, value))
        for name, value in selected.items()
    }
    for fields in (as_json, as_text):
        np.testing.assert_array_equal(picture(http.post(V1, data={**named, **fields}, files=photo)), expected)


def test_http_submits_a_selection(
    http: httpx.Client, client: Client, segmenter: automask.Segmenter, jpeg: bytes
) -> None:
    fields: dict[str, Any] = {"image": base64.b64encode(jpeg).decode(), "box": BOX}
    reply = http.post(V2, json=fields).json()
    client.job(reply["request_id"]).result(60)  # waits without polling
    output = http.get(http.get(reply["response_url"]).json()["output"])
    np.testing.assert_array_equal(picture(output), segmenter.mask(jpeg, box=BOX).mask)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"box": "1,2,3"}, "box must be four numbers: left, top, right, bottom, got [1, 2, 3]"),
        ({"box": "1,2,three,4"}, "box must be a JSON array or numbers with commas between them, got '1,2,three,4'"),
        ({"box": "[1, 2"}, "box must be a JSON array or numbers with commas between them, got '[1, 2'"),
        ({"box": [9, 2, 3, 4]}, "box must have left < right and top < bottom, got (9.0, 2.0, 3.0, 4.0)"),
        ({"points": "1,2"}, "points[0] must be three numbers: x, y and a label, 1 or 0, got [1, 2]"),
        ({"points": [[1, 2, 1]] * 65}, "points must hold at most 64 points, got 65"),
        ({"keep": "0.5"}, "keep must hold indices of instances: integers, 0 or more, got 0.5"),
        ({"drop": {"0": 1}}, "drop must hold indices of instances: integers, 0 or more, got '0'"),
        ({"drop": 1}, "drop must be a sequence, got 1"),
    ],
)
def test_a_malformed_field_is_named(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        parse_form({"image": b"a file", "prompt": "cup", **fields})
    assert str(caught.value) == message


def test_a_prompt_may_be_left_out_only_with_an_object() -> None:
    assert parse_form({"image": b"a file", "box": "1,2,3,4", "points": [], "keep": ""}).to_task(b"").prompts == ()
    incomplete: list[dict[str, object]] = [{"points": "1,2,0"}, {"drop": "0"}, {"box": []}]
    for fields in incomplete:
        with pytest.raises(ParameterError, match="prompt must name what to mask, got None"):
            parse_form({"image": b"a file", **fields})


def test_openapi_describes_the_extensions(http: httpx.Client) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    content = paths[V1]["post"]["requestBody"]["content"]
    for kind, expected in (("application/json", "array"), ("multipart/form-data", "string")):
        properties = content[kind]["schema"]["properties"]
        for name in ("box", "points", "keep", "drop"):
            assert properties[name]["type"] == expected
            assert "Not in the hosted API." in properties[name]["description"]


coordinates = st.floats(0, 1e5, allow_nan=False)
selections = st.builds(
    Selection,
    box=st.none() | st.tuples(st.floats(0, 10), st.floats(0, 10), st.floats(11, 20), st.floats(11, 20)),
    points=st.lists(st.tuples(coordinates, coordinates, st.integers(0, 1)), max_size=5).map(tuple),
    keep=st.lists(st.integers(0, 99), unique=True, max_size=4).map(tuple),
    drop=st.lists(st.integers(0, 99), unique=True, max_size=4).map(tuple),
)


@given(selections)
def test_a_selection_survives_the_store(selection: Selection) -> None:
    task = Task(b"photo", ("cup",), selection=selection)
    assert decode_task(encode_task(task)) == task


def test_a_task_without_a_selection_is_stored_as_before() -> None:
    """The store recognises a task that is submitted again by these bytes, also one of an older version."""
    old = b'\n\x07\n\x05photo\x12\x03cup\x1a\x05spoon"\x02\x10\x03*\x07default2\x02\x01\x06'
    message = mask_pb2.MaskTask.FromString(old)
    assert encode_message(message) == old
    assert decode_task(old).selection == Selection()
    bare = encode_task(Task(b"photo", ("cup",)))
    names = {descriptor.name for descriptor, _ in mask_pb2.MaskTask.FromString(bare).ListFields()}
    assert names == {"image", "prompts", "parameters"}
