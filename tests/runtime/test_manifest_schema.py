"""The JSON Schema of `automask.json`, the reader, and the page about it agree."""

from __future__ import annotations

import ast
import copy
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automask.bundle import MANIFEST, read_bundle
from automask.errors import BundleError
from automask.lookup import find_bundle
from automask.schema import manifest_schema
from support.constant_bundles import constant_bundle

ROOT = Path(__file__).parents[2]
EMBEDDED = json.loads((find_bundle("default").folder / MANIFEST).read_text())
VALIDATOR = jsonschema.Draft202012Validator(manifest_schema())
RICH = {
    **EMBEDDED,
    "image": {
        "detector": {
            **EMBEDDED["image"]["detector"],
            "padding": [0, 0, 0],
            "multiple": 2,
            "mask_stride": 4,
            "scores": "sigmoid",
        }
    },
    "text": {
        **EMBEDDED["text"],
        "max_length": 77,
        "stuff": [1],
        "pad_to": None,
        "separator_ids": [1],
        "template": "{}",
    },
    "kinds": {"finder": "picodet"},
    "terms": [{"name": "A licence", "url": "https://example.com", "conditions": ["not for sale"]}],
}
"""A manifest with most of the fields that there are."""


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each value inside a JSON document."""
    for name, one in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, name)
        yield from paths(one, (*path, name))


PATHS = list(paths(RICH))
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(-2, 300, allow_nan=False)
    | st.sampled_from(["", "x", "/"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "size", "shape"]), inner, max_size=2)
    ),
    max_leaves=4,
)
REMOVED = object()


def changed(manifest: Any, path: tuple[Any, ...], value: object) -> Any:
    """A copy of a manifest with another value, or without the one at a path."""
    result = copy.deepcopy(manifest)
    parent = result
    for name in path[:-1]:
        parent = parent[name]
    if value is REMOVED:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return result


def is_read(folder: Path, manifest: Any) -> bool:
    """Whether the reader accepts a manifest; what it does not accept is a `BundleError`."""
    (folder / MANIFEST).write_text(json.dumps(manifest))
    try:
        read_bundle(folder)
    except BundleError:
        return False
    return True


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundle")


def test_the_schema_is_one_and_knows_the_bundles(folder: Path, tmp_path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(manifest_schema())
    constant = constant_bundle(
        tmp_path / "one", "dense", "segmenter", {"scores": np.zeros((4, 4), np.float32)}, ("sky",)
    )
    for manifest in (EMBEDDED, RICH, json.loads((constant / MANIFEST).read_text())):
        VALIDATOR.validate(manifest)
        assert is_read(folder, manifest)


def test_a_field_of_older_exporters_is_ignored(folder: Path) -> None:
    older = {**EMBEDDED, "text": {"kind": "vocabulary", **EMBEDDED["text"]}}
    VALIDATOR.validate(older)
    assert is_read(folder, older)


@settings(max_examples=400)
@given(path=st.sampled_from(PATHS), value=json_values | st.just(REMOVED))
def test_what_the_schema_refuses_the_reader_refuses(folder: Path, path: tuple[Any, ...], value: object) -> None:
    manifest = changed(RICH, path, value)
    if not VALIDATOR.is_valid(manifest):
        assert not is_read(folder, manifest)
    else:
        is_read(folder, manifest)  # raises nothing but BundleError


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("image", "detector", "size"), 0, "image.detector.size must be at least 1, got 0"),
        (("image", "detector", "size"), True, "image.detector.size must be integer, got True"),
        (("image", "detector", "std"), [1, 1], r"image.detector.std must have 3 items, got \[1, 1\]"),
        (("image", "detector", "std", 0), 0, r"image.detector.std\[0\] must be more than 0, got 0"),
        (("image", "detector", "resize"), "crop", "image.detector.resize must be one of stretch, .*, got 'crop'"),
        (("files", "detector.onnx"), "0", r"files.detector.onnx must match \^"),
        (("calibration",), [[0, 0]], r"calibration must have at least 2 items, got \[\[0, 0\]\]"),
        (("calibration", 1, 0), 2, r"calibration\[1\]\[0\] must be at most 1, got 2"),
        (("name",), "", "name must not be empty"),
        (("sources",), {}, "sources must be array, got {}"),
    ],
)
def test_an_error_names_the_field(folder: Path, path: tuple[Any, ...], value: object, message: str) -> None:
    (folder / MANIFEST).write_text(json.dumps(changed(RICH, path, value)))
    with pytest.raises(BundleError, match=f"automask.json is malformed: {message}"):
        read_bundle(folder)


def test_numbers_that_are_no_json_are_refused(folder: Path) -> None:
    (folder / MANIFEST).write_text(json.dumps(changed(RICH, ("calibration", 1, 0), float("nan"))))
    with pytest.raises(BundleError, match="NaN is no JSON"):
        read_bundle(folder)


@cache
def reads() -> frozenset[tuple[str, str]]:
    """Constant keys that the runtime reads, with the name of what they are read from: `settings["size"]`."""
    found = set()
    files = (
        path for path in (ROOT / "runtime").rglob("*.py") if path.parts[-2] != "pull"
    )  # which reads the Hub's files
    for node in (node for path in files for node in ast.walk(ast.parse(path.read_text()))):
        match node:
            case ast.Subscript(value=value, slice=ast.Constant(value=str(key))):
                found.add((ast.unparse(value).rpartition(".")[2], key))
            case ast.Call(func=ast.Attribute(value=value, attr="get"), args=[ast.Constant(value=str(key)), *_]):
                found.add((ast.unparse(value).rpartition(".")[2], key))
    return frozenset(found)


def keys_read(*names: str) -> set[str]:
    return {key for name, key in reads() if name in names}


def described(schema: dict[str, Any]) -> tuple[set[str], set[str]]:
    """Fields of an object, and those of which the schema says that they are not read."""
    properties = schema["properties"]
    return set(properties), {name for name, one in properties.items() if "Not read" in one.get("description", "")}


def test_each_field_that_the_reader_knows_is_described_and_the_reverse() -> None:
    schema = manifest_schema()
    for names, one in (
        (("manifest",), schema),
        (("graph",), schema["$defs"]["graph"]),
        (("one",), schema["$defs"]["tensors"]["additionalProperties"]),
    ):
        fields, unread = described(one)
        assert keys_read(*names) & fields == fields - unread, names
    assert keys_read("manifest") <= described(schema)[0]
    roles = set(EMBEDDED["graphs"]) | {"segmenter", "vision_encoder", "detector_encoder", "image_encoder"}
    image, text = described(schema["$defs"]["image"]), described(schema["$defs"]["text"])
    read = keys_read("settings", "text", "image") - roles
    assert read == (image[0] - image[1]) | (text[0] - text[1])


def test_the_page_describes_each_field() -> None:
    page = (ROOT / "docs" / "bundles.md").read_text()
    schema = manifest_schema()
    for one in (schema, *(schema["$defs"][name] for name in ("graph", "image", "text"))):
        for name in one["properties"]:
            assert f"| `{name}` |" in page, name
