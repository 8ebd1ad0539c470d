"""Bodies of calls as fields: JSON, multipart/form-data and x-www-form-urlencoded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser

from automask.errors import ImageError, ParameterError

from .forms import Form, read_form

__all__ = ["limit_body", "max_body_bytes", "read_body"]

Receive = Callable[[], Awaitable[Any]]

_MULTIPART, _URLENCODED = "multipart/form-data", "application/x-www-form-urlencoded"
_SLACK: Final = 64 << 10  # for everything but the image


def max_body_bytes(max_image_bytes: int) -> int:
    """Give the most bytes that a body may have: base64 makes four bytes of three, line breaks add a few."""
    return max_image_bytes * 7 // 5 + _SLACK


def limit_body(receive: Receive, declared: str, limit: int) -> Receive:
    """Have a body refused as soon as it is known to be too large.

    Parameters
    ----------
    receive
        Gives the body piece by piece.
    declared
        Its header Content-Length; may be empty or wrong.
    limit
        Most bytes.
    """
    received = int(declared) if declared.isdecimal() and int(declared) > limit else 0

    async def limited() -> Any:  # noqa: ANN401 (ASGI's messages)
        nonlocal received
        if received <= limit:
            message = await receive()
            received += len(message.get("body", b""))
        if received > limit:
            raise ImageError(
                f"the body has more than {limit:,} bytes, which are the most that an image within "
                "`automask serve --max-image-mb` takes"
            )
        return message

    return limited


async def read_body(request: Request, max_image_bytes: int) -> Form:
    """Read what a call asks for.

    Parameters
    ----------
    request
        The call.
    max_image_bytes
        Most bytes of an image.

    Raises
    ------
    ParameterError
        The body cannot be read, or a parameter is out of its range.
    ImageError
        The image is missing, or in none of the forms that it may have.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in {_MULTIPART, _URLENCODED}:
        return await asyncio.to_thread(read_form, await _read_fields(request, kind, max_body_bytes(max_image_bytes)))
    # Megabytes of base64: not for the event loop.
    return await asyncio.to_thread(_read_json, await request.body())


async def _read_fields(request: Request, kind: str, limit: int) -> dict[str, object]:
    async with aclosing(request.stream()) as stream:
        parser: MultiPartParser | FormParser = FormParser(request.headers, stream, max_fields=100, max_part_size=limit)
        if kind == _MULTIPART:
            parser = MultiPartParser(request.headers, stream, max_files=1, max_fields=100, max_part_size=limit)
            parser.spool_max_size = limit  # a photo goes to no disk, where there may be no room, or no leave to write
        try:
            form = await parser.parse()
        except MultiPartException as error:
            raise ParameterError("body", f"be a form that can be read ({error.message})", "one that cannot") from error
    try:
        return {name: await value.read() if isinstance(value, UploadFile) else value for name, value in form.items()}
    finally:
        await form.close()


def _read_json(body: bytes) -> Form:
    try:
        fields = json.loads(body)
    except ValueError as error:  # UnicodeDecodeError is one
        raise ParameterError("body", f"be JSON or a form ({error})", _start(body)) from None
    except RecursionError:
        raise ParameterError("body", "be JSON that is not nested", _start(body)) from None
    if not isinstance(fields, dict):
        raise ParameterError("body", "be a JSON object", _start(body))
    return read_form(fields)


def _start(body: bytes) -> str:
    return body[:40].decode("utf-8", "replace")
