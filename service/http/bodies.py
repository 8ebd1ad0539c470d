"""Request bodies: JSON, multipart/form-data and x-www-form-urlencoded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from automask.errors import ImageError, ParameterError

from ..cancellation import run_in_thread
from ..core.inflight import Held
from .forms import Form, parse_form
from .parsing import MAX_FIELDS, MAX_OTHER_BYTES, parse_json, parse_urlencoded

__all__ = ["limit_body", "max_body_bytes", "read_body"]

Receive = Callable[[], Awaitable[Any]]

_MULTIPART, _URLENCODED = "multipart/form-data", "application/x-www-form-urlencoded"
_CHARSETS: Final = {b"utf-8", b"utf8", b"us-ascii", b"iso-8859-1"}
_MAX_DIGITS: Final = 18  # of a Content-Length


def max_body_bytes(max_image_bytes: int) -> int:
    """Return the maximum size of a body, in bytes: base64 makes four bytes of three, line breaks add some."""
    return max_image_bytes * 7 // 5 + MAX_OTHER_BYTES


def limit_body(receive: Receive, declared: str, limit: int, held: Held) -> Receive:
    """Return a `receive` that raises as soon as the body is too large, or too many bytes are in flight.

    Nothing of a body is read that is refused by its declared length.

    Parameters
    ----------
    receive
        ASGI function that returns the parts of the body.
    declared
        Value of the header Content-Length; may be empty or wrong.
    limit
        Maximum size, in bytes.
    held
        Bytes that the call holds.

    Raises
    ------
    ImageError
        The body is too large.
    QueueFullError
        Too many bytes are in flight.
    """
    expected = int(declared) if declared.isdecimal() and len(declared) <= _MAX_DIGITS else 0
    received = expected if expected > limit else 0

    async def limited() -> Any:  # noqa: ANN401 (ASGI's messages)
        nonlocal received, expected
        if received <= limit:
            held.check(expected)
            expected = 0  # checked once; from now on, what arrives counts
            message = await receive()
            size = len(message.get("body", b""))
            received += size
            held.add(size)
        if received > limit:
            raise ImageError(
                f"the body is larger than {limit:,} bytes, the maximum at this `automask serve --max-image-mb`"
            )
        return message

    return limited


async def read_body(request: Request, max_image_bytes: int, *, needs_prompt: bool = True) -> Form:
    """Read the body of a call.

    Parameters
    ----------
    request
        HTTP request.
    max_image_bytes
        Maximum size of an image, in bytes.
    needs_prompt
        Whether a prompt, a box or points are required.

    Raises
    ------
    ParameterError
        The body is malformed, or a parameter is invalid.
    ImageError
        The image is missing or malformed.
    """
    content_type = request.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if kind == _MULTIPART:
        fields = await _read_multipart(request, content_type, max_body_bytes(max_image_bytes))
        return await run_in_thread(lambda: parse_form(fields, needs_prompt=needs_prompt))
    parse = parse_urlencoded if kind == _URLENCODED else parse_json
    # `Request.body` would keep the body.
    body = b"".join([part async for part in request.stream()])
    # Parsing megabytes would block the event loop.
    return await run_in_thread(lambda: parse_form(parse(body), needs_prompt=needs_prompt))


async def _read_multipart(request: Request, content_type: str, limit: int) -> dict[str, object]:
    charset = parse_options_header(content_type)[1].get(b"charset", b"utf-8")
    if charset.lower() not in _CHARSETS:  # some of Python's take hours for a megabyte, such as punycode
        raise ParameterError("body", "be a form in UTF-8", f"charset={charset[:40].decode('latin-1')}")
    async with aclosing(request.stream()) as stream:
        parser = MultiPartParser(request.headers, stream, max_files=1, max_fields=MAX_FIELDS, max_part_size=limit)
        parser.spool_max_size = limit  # keep uploads in memory: the disk may be full or read-only
        try:
            form = await parser.parse()
        except MultiPartException as error:
            raise ParameterError("body", f"be a valid form ({error.message})", _MULTIPART) from error
    try:
        return {name: await value.read() if isinstance(value, UploadFile) else value for name, value in form.items()}
    finally:
        # The form lacks a file whose end is missing.
        for file in getattr(parser, "_files_to_close_on_error", ()):
            file.close()
