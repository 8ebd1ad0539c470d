"""Bodies and messages that are large besides the image: refused before they are parsed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.message import DecodeError

from automask.errors import ImageError, ParameterError
from automask.service.http.forms import parse_form
from automask.service.http.parsing import parse_json, parse_urlencoded
from automask.service.wire.sizes import is_small
from automask.service.wire.tasks import read_task
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages

PHOTO = "A" * 3_000_000
TOO_LARGE = r"^body must have at most 65,536 bytes besides the image"


@pytest.mark.parametrize(
    "rest",
    [
        '"points": [' + "[1,1,1]," * 9000 + "[1,1,1]]",
        '"unknown": [' + "[]," * 30_000 + "[]]",
        ",".join(f'"{number}": 0' for number in range(9000)),
        '"threshold": 0.' + "1" * 70_000,
        '"prompt": "' + "x" * 70_000 + '"',
        '"prompt": "' + '\\"' * 40_000 + '"',
        '"prompt": "' + '\\"' * 40_000,
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_json_is_refused_before_it_is_parsed(rest: str, first: bool) -> None:
    photo = f'"image": "{PHOTO}"'
    body = "{" + (f"{photo}, {rest}" if first else f"{rest}, {photo}") + "}"
    with pytest.raises(ParameterError, match=TOO_LARGE):
        parse_json(body.encode())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_json_with_a_large_photo_is_parsed(encoding: str) -> None:
    photo = "/9j/\r\n" * 100_000
    body = json.dumps({"image": photo, "prompt": "cup", "\u2022": ["\u2033"]}).replace("/", "\\/").encode(encoding)
    assert parse_json(body) == {"image": photo, "prompt": "cup", "\u2022": ["\u2033"]}


def test_text_besides_the_image_is_refused_in_every_kind_of_body() -> None:
    for fields in (
        {"points": "1,1,1;" * 20_000},
        {"x" * 70_000: ""},
        {"prompt": b"x" * 70_000},
        {"a" * 40_000: "b" * 40_000},
    ):
        with pytest.raises(ParameterError, match=TOO_LARGE):
            parse_form({"image": PHOTO, "prompt": "cup", **fields})
    with pytest.raises(ParameterError, match=TOO_LARGE):
        parse_form(parse_urlencoded(b"prompt=cup&image=AAAA&points=" + b"1,1,1;" * 20_000))


def test_urlencoded_bodies() -> None:
    assert parse_urlencoded(b"a=1&&b=a+%2B%C3%A9%zz&a=2&c&=d") == {"a": "2", "b": "a +\xe9%zz", "c": "", "": "d"}
    assert len(str(parse_urlencoded(b"image=" + b"%2B" * 1_000_000)["image"])) == 1_000_000
    with pytest.raises(ParameterError, match="body must have at most 100 fields, got 101"):
        parse_urlencoded(b"&" * 100)
    with pytest.raises(ImageError, match="more than 2,000,000 percent escapes: send it as base64 or as a file"):
        parse_urlencoded(b"image=" + b"%41" * 2_000_001)
    with pytest.raises(ImageError, match="percent escapes"):
        parse_form({"image": "data:image/jpeg," + "%41" * 2_000_001, "prompt": "cup"})


IMAGES = (
    mask_pb2.Image(encoded=bytes(3_000_000)),
    mask_pb2.Image(raw=mask_pb2.RawImage(data=bytes(3_000_000), width=1000, height=1000, channels=3)),
)
LARGE: tuple[dict[str, Any], ...] = (
    {"points": [mask_pb2.Point()] * 20_000},
    {"prompts": [""] * 20_000},
    {"prompts": ["x" * 2_000_000]},
    {"exclude": ["cup"] * 20_000},
    {"keep": [0] * 2_000_000},
    {"formats": [1] * 2_000_000},
    {"model": "x" * 2_000_000},
)


@pytest.mark.parametrize("image", IMAGES)
def test_a_message_that_is_large_besides_its_image_is_refused(image: mask_pb2.Image) -> None:
    for request in (messages.GenerateRequest, messages.GenerateStreamRequest, messages.SubmitRequest):
        kept = request(task=mask_pb2.MaskTask(image=image, prompts=["x" * 4000] * 64, exclude=["x" * 4000] * 64))
        assert is_small(kept.SerializeToString(), request.DESCRIPTOR)
        for fields in LARGE:
            message = request(task=mask_pb2.MaskTask(image=image, **fields))
            assert not is_small(message.SerializeToString(), request.DESCRIPTOR), [*fields]
    status = messages.GetStatusRequest(request_id="x" * 2_000_000)
    assert not is_small(status.SerializeToString(), messages.GetStatusRequest.DESCRIPTOR)


@pytest.mark.parametrize("end", [b"\x0a", b"\x0a\x7f", b"\x0f", b"\x08" + b"\xff" * 11, b"\x0d\x00"])
def test_a_message_that_ends_too_early_is_malformed(end: bytes) -> None:
    task = messages.GenerateRequest(task=mask_pb2.MaskTask(image=IMAGES[0])).SerializeToString()
    with pytest.raises(DecodeError):
        is_small(task + end, messages.GenerateRequest.DESCRIPTOR)


def test_many_points_and_indices_are_refused_by_their_number() -> None:
    for fields, most in (({"points": [mask_pb2.Point()] * 65}, "64 points"), ({"keep": range(1001)}, "1000 indices")):
        with pytest.raises(ParameterError, match=f"must hold at most {most}, got"):
            read_task(mask_pb2.MaskTask(image=IMAGES[0], prompts=["cup"], **fields))
