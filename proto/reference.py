"""The gRPC reference, docs/grpc.md, from the comments of the contract."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)

_INTRODUCTION = """# gRPC

<!-- Made by proto/generate.py from the comments in proto/automask/v1/: edit those, and run `make proto`. -->

The contract is in [mask_service.proto](../proto/automask/v1/mask_service.proto)
and [mask.proto](../proto/automask/v1/mask.proto); the package is `automask.v1`.
A server with reflection lists it: `python examples/reflection.py 127.0.0.1:50051`.
Errors, deadlines, limits and keys: [service.md](service.md).
"""
# Numbers of fields in descriptor.proto, of which the paths of source locations consist.
_MESSAGES, _ENUMS, _SERVICES, _MEMBERS = 4, 5, 6, 2
_Path = tuple[int, ...]


def render(image: bytes, package: str) -> str:
    """Return the reference.

    Parameters
    ----------
    image
        A serialized `FileDescriptorSet` with source information.
    package
        Package to describe, such as ``automask.v1``.
    """
    files = [file for file in FileDescriptorSet.FromString(image).file if file.package == package]
    services = [part for file in files for part in _File(file).services()]
    messages = sorted(part for file in files for part in _File(file).messages())
    enums = sorted(part for file in files for part in _File(file).enums())
    texts = [text for _, text in (*services, ("", "## Messages\n"), *messages, ("", "## Enums\n"), *enums)]
    return "\n".join([_INTRODUCTION, *texts])


class _File:
    """One file of the contract."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self._file = file
        self._comments = {tuple(one.path): one.leading_comments for one in file.source_code_info.location}

    def services(self) -> Iterator[tuple[str, str]]:
        """Yield name and section of each service."""
        for index, service in enumerate(self._file.service):
            yield service.name, self._service(service, (_SERVICES, index))

    def messages(self) -> Iterator[tuple[str, str]]:
        """Yield name and section of each message."""
        for index, message in enumerate(self._file.message_type):
            yield message.name, self._message(message, (_MESSAGES, index))

    def enums(self) -> Iterator[tuple[str, str]]:
        """Yield name and section of each enum."""
        for index, enum in enumerate(self._file.enum_type):
            yield enum.name, self._enum(enum, (_ENUMS, index))

    def _service(self, service: ServiceDescriptorProto, path: _Path) -> str:
        rows = (
            (f"`{method.name}`", _call(method), self._comment((*path, _MEMBERS, index)))
            for index, method in enumerate(service.method)
        )
        return f"## {service.name}\n\n{self._paragraph(path)}\n\n{_table(('call', 'messages', ''), rows)}"

    def _message(self, message: DescriptorProto, path: _Path) -> str:
        rows = (
            (f"`{field.name}`", _type(field, message), self._comment((*path, _MEMBERS, index)))
            for index, field in enumerate(message.field)
        )
        table = _table(("field", "type", ""), rows) if message.field else "No fields.\n"
        return f"### {message.name}\n\n{self._paragraph(path)}\n\n{table}"

    def _enum(self, enum: EnumDescriptorProto, path: _Path) -> str:
        rows = (
            (f"`{value.name}`", str(value.number), self._comment((*path, _MEMBERS, index)))
            for index, value in enumerate(enum.value)
        )
        return f"### {enum.name}\n\n{self._paragraph(path)}\n\n{_table(('value', 'number', ''), rows)}"

    def _paragraph(self, path: _Path) -> str:
        return textwrap.fill(self._comment(path), 120, break_long_words=False, break_on_hyphens=False)

    def _comment(self, path: _Path) -> str:
        return " ".join(self._comments[path].split())


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _call(method: MethodDescriptorProto) -> str:
    request = ("stream of " if method.client_streaming else "") + _link(method.input_type)
    response = ("stream of " if method.server_streaming else "") + _link(method.output_type)
    return f"{request} → {response}"


def _type(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    nested = {f".{message.name}.{one.name}": one for one in message.nested_type if one.options.map_entry}
    entry = next((one for name, one in nested.items() if field.type_name.endswith(name)), None)
    if entry is not None:
        return f"map of {_name(entry.field[0])} to {_name(entry.field[1])}"
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"list of {_name(field)}"
    if field.proto3_optional:
        return f"optional {_name(field)}"
    if field.HasField("oneof_index"):
        return f"{_name(field)}, one of `{message.oneof_decl[field.oneof_index].name}`"
    return _name(field)


def _name(field: FieldDescriptorProto) -> str:
    if field.type_name:
        return _link(field.type_name)
    return FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


def _link(name: str) -> str:
    """Return a link to a message or enum of the contract; the name alone for one of another package."""
    short = name.rpartition(".")[2]
    return f"[{short}](#{short.lower()})" if name.startswith(".automask.") else f"`{name.lstrip('.')}`"
