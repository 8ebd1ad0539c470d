"""The HTTP reference: what the OpenAPI document of a server says, in place of a mark in http.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from mkdocs.structure.files import File

from automask.service.config.settings import load_settings
from automask.service.http.app import create_app

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

MARK = "<!-- OpenAPI -->"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the document itself."""
    files.append(File.generated(config, "openapi.json", content=json.dumps(_document(), indent=1)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace the mark by the reference."""
    del page, config, files
    return markdown.replace(MARK, "\n".join(_render(_document()))) if MARK in markdown else markdown


def _document() -> dict[str, Any]:
    nothing = cast("Any", None)  # routes are declared, and never called
    app = create_app(nothing, load_settings(None), nothing, nothing, nothing, grpc_port=0)
    return app.openapi()


def _render(document: Mapping[str, Any]) -> Iterator[str]:
    schemas = document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield f"## {method.upper()} {path}\n\n{operation['description']}\n"
            if "requestBody" in operation:
                yield "The body has the [parameters](#parameters) below.\n"
            yield from _table(("parameter", "in", ""), map(_parameter, operation.get("parameters", ())))
            yield from _table(("status", "body", ""), _responses(operation["responses"]))
            headers = operation["responses"]["200"].get("headers", {}).items()
            yield from _table(("header", ""), ((f"`{name}`", one["description"]) for name, one in headers))
    bodies = next(one["post"]["requestBody"]["content"] for one in document["paths"].values() if "post" in one)
    yield f"## Parameters\n\nOf a body in {', '.join(f'`{kind}`' for kind in bodies)}.\n"
    schema = bodies["application/json"]["schema"]
    yield from _table(
        ("parameter", "type", "default", ""),
        (
            (f"`{name}`{' (required)' * (name in schema['required'])}", _type(one), _default(one), one["description"])
            for name, one in schema["properties"].items()
        ),
    )
    yield "\n## Bodies of responses\n"
    for name, one in schemas.items():
        yield f"### {name}\n\n{one.get('description', '')}\n"
        yield from _table(("field", "type", ""), map(_field, one["properties"].items()))


def _parameter(one: Mapping[str, Any]) -> tuple[str, str, str]:
    return f"`{one['name']}`", one["in"], one.get("description", "")


def _responses(responses: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for status, response in responses.items():
        bodies = response.get("content", {}).items()
        yield status, " or ".join(_link(one["schema"]) or f"`{kind}`" for kind, one in bodies), response["description"]


def _field(item: tuple[str, Mapping[str, Any]]) -> tuple[str, str, str]:
    name, one = item
    return f"`{name}`", _type(one), one.get("description", "")


def _link(schema: Mapping[str, Any]) -> str:
    name = schema.get("$ref", "").rpartition("/")[2]
    return f"[{name}](#{name.lower()})" if name else ""


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return _link(schema)
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{one}`" for one in schema.get("enum", [schema.get("const")]))
    if schema["type"] == "array":
        return f"array of {_type(schema['items'])}"
    bounds = f" {schema['minimum']}..{schema['maximum']}" if "maximum" in schema else ""
    return f"{schema['type']}{bounds}"


def _default(schema: Mapping[str, Any]) -> str:
    return f"`{json.dumps(schema['default'])}`" if "default" in schema else ""


def _table(head: Sequence[str], rows: Any) -> Iterator[str]:  # noqa: ANN401
    lines = [head, ["---"] * len(head), *rows]
    if len(lines) > 2:
        yield "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
