"""The schema of `automask.json`, and a check of a manifest against it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Final

__all__ = ["check_manifest", "manifest_schema"]

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "null": (type(None),),
}
_LEAST: Final = {"minimum": "at least", "exclusiveMinimum": "more than", "maximum": "at most"}


@cache
def manifest_schema() -> dict[str, Any]:
    """Return the JSON Schema of `automask.json` (draft 2020-12)."""
    text = resources.files("automask.data").joinpath("automask.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def check_manifest(manifest: object) -> None:
    """Check types, ranges and required fields.

    It knows the keywords of JSON Schema that the schema uses, but for ``propertyNames`` and ``minProperties``, which
    the reader checks itself.

    Raises
    ------
    KeyError
        A required field is missing.
    ValueError
        A field has a wrong type or value; the message names it, and what would be right.
    """
    _check(manifest, manifest_schema(), "")


def _check(value: Any, schema: Mapping[str, Any], path: str) -> None:  # noqa: ANN401 (any JSON)
    if "$ref" in schema:
        schema = manifest_schema()["$defs"][schema["$ref"].rpartition("/")[2]]
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    if isinstance(value, bool) or not any(isinstance(value, _TYPES[kind]) for kind in kinds):
        raise _error(path, f"be {' or '.join(kinds)}", value)
    if isinstance(value, dict):
        _check_object(value, schema, path)
    elif isinstance(value, list):
        _check_array(value, schema, path)
    elif isinstance(value, str):
        _check_text(value, schema, path)
    elif value is not None:
        _check_number(value, schema, path)


def _check_object(value: Mapping[str, Any], schema: Mapping[str, Any], path: str) -> None:
    for name in schema.get("required", ()):
        if name not in value:
            raise KeyError(name)
    properties, other = schema.get("properties", {}), schema.get("additionalProperties")
    for name, one in value.items():
        described = properties.get(name, other)
        if described is not None:
            _check(one, described, f"{path}.{name}" if path else name)


def _check_array(value: list[Any], schema: Mapping[str, Any], path: str) -> None:
    least, most = schema.get("minItems", 0), schema.get("maxItems", len(value))
    if not least <= len(value) <= most:
        raise _error(path, f"have {least} items" if least == most else f"have at least {least} items", value)
    for index, one in enumerate(value):
        _check(one, schema["items"], f"{path}[{index}]")


def _check_text(value: str, schema: Mapping[str, Any], path: str) -> None:
    if len(value) < schema.get("minLength", 0):
        raise _error(path, "not be empty", value)
    if "enum" in schema and value not in schema["enum"]:
        raise _error(path, f"be one of {', '.join(schema['enum'])}", value)
    if "pattern" in schema and not re.search(schema["pattern"], value):
        raise _error(path, f"match {schema['pattern']}", value)


def _check_number(value: float, schema: Mapping[str, Any], path: str) -> None:
    holds = {
        "minimum": value >= schema.get("minimum", value),
        "exclusiveMinimum": "exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"],
        "maximum": value <= schema.get("maximum", value),
    }
    for name, words in _LEAST.items():
        if not holds[name]:
            raise _error(path, f"be {words} {schema[name]}", value)


def _error(path: str, requirement: str, value: object) -> ValueError:
    shown = repr(value)
    return ValueError(f"{path or 'it'} must {requirement}, got {shown if len(shown) <= 60 else shown[:60] + '…'}")
