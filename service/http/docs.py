"""The page at /docs: what OpenAPI says, written out. It needs no script and loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

from automask import Parameters

__all__ = ["HEADERS", "write_page"]

HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
}
"""What the page may load: its style, and the icon."""

_DEFAULTS: Final = Parameters()


def write_page(openapi: Mapping[str, Any]) -> str:
    """Write an OpenAPI document as a page.

    Parameters
    ----------
    openapi
        As FastAPI makes it.
    """
    calls = "".join(
        _write_call(method, path, call)
        for path, methods in openapi["paths"].items()
        for method, call in methods.items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>automask: the calls</title>'
        '<link rel="icon" href="static/icon.svg"><link rel="stylesheet" href="static/docs.css"></head><body><main>'
        "<h1>automask: the calls</h1><p>Where the server wants a key, it goes into the header <code>x-api-key</code>. "
        "Errors are JSON with <code>error</code>, <code>reason</code> and <code>request_id</code>. "
        'For machines: <a href="openapi.json">openapi.json</a>. To try it: <a href=".">the playground</a>.</p>'
        f"{calls}</main></body></html>"
    )


def _write_call(method: str, path: str, call: Mapping[str, Any]) -> str:
    return (
        f"<section><h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(call.get('description', ''))}</p>"
        f"{_write_fields(call)}</section>"
    )


def _write_fields(call: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><th scope='row'><code>{escape(name)}</code></th><td>{escape(kind)}</td><td>{escape(text)}</td></tr>"
        for name, kind, text in _fields(call)
    )
    head = "<tr><th scope='col'>Name</th><th scope='col'>Type</th><th scope='col'>Meaning</th></tr>"
    return f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>" if rows else ""


def _fields(call: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for parameter in call.get("parameters", []):
        yield parameter["name"], f"{parameter['schema']['type']}, in the {parameter['in']}", ""
    schemas = [content["schema"] for content in call.get("requestBody", {}).get("content", {}).values()]
    for name, schema in (schemas[0]["properties"] if schemas else {}).items():
        needed = "required" if name in schemas[0]["required"] else f"default {_write_default(name)}"
        yield name, f"{schema['type']}{_write_range(schema)}, {needed}", schema["description"]


def _write_range(schema: Mapping[str, Any]) -> str:
    return f" {schema['minimum']:.0f}..{schema['maximum']:.0f}" if "minimum" in schema else ""


def _write_default(name: str) -> str:
    value = getattr(_DEFAULTS, name, "the server's first")
    return str(value).lower() if isinstance(value, bool) else str(value)
