"""Parameters over HTTP: lenient types, strict ranges; all formats of an image."""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automask import Parameters
from automask.errors import ImageError, ParameterError
from automask.service.http.forms import parse_form
from automask.service.http.schema import SCHEMA

NEEDED: dict[str, object] = {"image": b"a file", "prompt": "cup"}


def read(**fields: object) -> Parameters:
    return parse_form({**NEEDED, **fields}).parameters


def test_missing_parameters_have_the_defaults_of_the_hosted_api() -> None:
    form = parse_form(NEEDED)
    assert form.parameters == Parameters(
        threshold=0.2,
        grow_mask=10,
        invert_mask=False,
        return_mask=True,
        return_alpha=False,
        stop_on_empty_mask=False,
        seed=-1,
        base64=False,
    )
    assert (form.image, form.prompt, form.model, form.unknown) == (b"a file", "cup", "", ())
    blank = {name: blank for name in SCHEMA if name not in NEEDED for blank in (None, "", "  ")}
    assert parse_form({**NEEDED, **blank}) == form


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("threshold", "0.5", 0.5),
        ("threshold", 1, 1),
        ("threshold", " 1e-1 ", 0.1),
        ("grow_mask", "10", 10),
        ("grow_mask", 10.0, 10),
        ("grow_mask", "10.0", 10),
        ("seed", "999999999999999", 999_999_999_999_999),
        ("seed", 999_999_999_999_999.0, 999_999_999_999_999),
        ("seed", "-1", -1),
        *(("invert_mask", true, True) for true in (True, "true", "True", " TRUE ", "1", 1, "yes", "on")),
        *(("return_mask", false, False) for false in (False, "false", "False", "0", 0, "no", "off")),
        ("base64", "true", True),
        ("edges", " Fine ", "fine"),
        ("alpha", "soft", "soft"),
        ("feather", "12", 12),
    ],
)
def test_types_are_converted_leniently(name: str, value: object, meant: object) -> None:
    got = getattr(read(**{name: value}), name)
    assert (got, type(got)) == (meant, type(meant))


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("threshold", 1.7, "threshold must be a number in [0, 1], got 1.7"),
        ("threshold", "1.7", "threshold must be a number in [0, 1], got 1.7"),
        ("threshold", "high", "threshold must be a number in [0, 1], got 'high'"),
        ("threshold", "nan", "threshold must be a number in [0, 1], got nan"),
        ("threshold", True, "threshold must be a number in [0, 1], got True"),
        ("threshold", [0.5], "threshold must be a number in [0, 1], got [0.5]"),
        ("grow_mask", 101, "grow_mask must be an integer in [0, 100], got 101"),
        ("grow_mask", "-1", "grow_mask must be an integer in [0, 100], got -1"),
        ("grow_mask", 10.5, "grow_mask must be an integer in [0, 100], got 10.5"),
        ("grow_mask", "1e400", "grow_mask must be an integer in [0, 100], got '1e400'"),
        ("seed", 10**15, "seed must be an integer in [-1, 999999999999999], got 1000000000000000"),
        ("invert_mask", "maybe", "invert_mask must be True or False, got 'maybe'"),
        ("invert_mask", 2, "invert_mask must be True or False, got 2"),
        ("prompt", "  ", "prompt must name what to mask, got '  '"),
        ("prompt", None, "prompt must name what to mask, got None"),
        ("prompt", ["cup"], "prompt must be text, got ['cup']"),
        ("prompt", "x" * 1001, "prompt must have at most 1000 characters, got 1001"),
        ("model", 5, "model must be text, got 5"),
        ("edges", "sharp", "edges must be one of fast, fine, model, got 'sharp'"),
        ("alpha", 1, "alpha must be one of hard, soft, got 1"),
        ("feather", -1, "feather must be an integer in [0, 100], got -1"),
    ],
)
def test_ambiguous_and_invalid_values_are_rejected(name: str, value: object, sentence: str) -> None:
    with pytest.raises(ParameterError) as caught:
        parse_form({**NEEDED, name: value})
    assert str(caught.value) == sentence


def test_unknown_parameters_are_named() -> None:
    assert parse_form({**NEEDED, "samples": 1, "scheduler": None, "x" * 99: 1}).unknown == (
        "samples",
        "scheduler",
        "x" * 60,
    )


@given(st.binary(min_size=1), st.booleans(), st.booleans(), st.booleans())
def test_every_variant_of_base64_is_decoded(data: bytes, urlsafe: bool, padded: bool, wrapped: bool) -> None:
    text = (base64.urlsafe_b64encode if urlsafe else base64.b64encode)(data).decode()
    text = text if padded else text.rstrip("=")
    if wrapped:
        text = "\r\n".join(text[i : i + 76] for i in range(0, len(text), 76))
    for spelling in (text, f"data:image/png;base64,{text}", f"DATA:image/png;name=a;BASE64,{text}", f" {text}\n"):
        assert parse_form({**NEEDED, "image": spelling}).image == data


def test_an_image_can_be_a_url_or_percent_encoded() -> None:
    for url in ("https://example.org/a.png?b=c", "HTTP://example.org"):
        assert parse_form({**NEEDED, "image": url}).image == url
    assert parse_form({**NEEDED, "image": "data:,%89PNG%0d"}).image == b"\x89PNG\r"


@pytest.mark.parametrize(
    "image", ["room.jpg", "/srv/room.png", "file:///etc/passwd", "a", "§", "data:image/png;base64,%"]
)
def test_a_malformed_image_is_rejected_with_the_valid_formats(image: str) -> None:
    with pytest.raises(ImageError, match="image must be a data: URI, base64, an http.s. URL or an uploaded file, got"):
        parse_form({**NEEDED, "image": image})


@pytest.mark.parametrize("image", [5, ["a"], {"url": "a"}, True])
def test_an_image_of_the_wrong_type_is_rejected(image: Any) -> None:
    with pytest.raises(ImageError, match="image must be text or an uploaded file, got"):
        parse_form({**NEEDED, "image": image})


def test_a_missing_image_is_rejected() -> None:
    for fields in ({"prompt": "cup"}, {"prompt": "cup", "image": ""}, {"prompt": "cup", "image": None}):
        with pytest.raises(ImageError, match="image is missing: send a data: URI"):
            parse_form(fields)


@given(
    st.dictionaries(
        st.sampled_from([*SCHEMA, "other"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers()),
    )
)
def test_any_fields_are_parsed_or_rejected_with_a_known_error(fields: dict[str, object]) -> None:
    with suppress(ImageError, ParameterError):
        assert set(parse_form({**NEEDED, **fields}).unknown) == fields.keys() - SCHEMA.keys()
