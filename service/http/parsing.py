"""Bodies parsed to fields: JSON and x-www-form-urlencoded. Sizes are checked before anything is built. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

from automask.errors import ImageError, ParameterError

__all__ = ["MAX_FIELDS", "MAX_OTHER_BYTES", "check_sizes", "parse_json", "parse_urlencoded", "percent_decode"]

MAX_OTHER_BYTES: Final = 64 << 10
"""Bytes of a body besides the image."""

MAX_FIELDS: Final = 100
"""Fields of a form."""

_MAX_ESCAPES: Final = 2_000_000  # twice those of 32 MB in base64; each takes 100 bytes of memory to decode
_STRING: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)  # possessive: linear time for any text


def parse_json(body: bytes) -> dict[str, object]:
    """Parse a JSON object.

    Raises
    ------
    ParameterError
        The body is not a JSON object, or has more than 64 KB besides its longest string.
    """
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")
    except UnicodeDecodeError as error:
        raise ParameterError("body", f"be JSON or a form ({error})", _start(body)) from None
    _check_json_size(text)
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise ParameterError("body", f"be JSON or a form ({error})", _start(body)) from None
    except RecursionError:
        raise ParameterError("body", "be JSON without deep nesting", _start(body)) from None
    if not isinstance(fields, dict):
        raise ParameterError("body", "be a JSON object", _start(body))
    return fields


def _check_json_size(text: str) -> None:
    """Refuse a text with more than 64 KB besides its longest string: 40 MB of "[]," would become gigabytes."""
    longest = 0
    for match in _STRING.finditer(text):
        longest = max(longest, match.end() - match.start())
        if match.end() - longest > MAX_OTHER_BYTES:
            break
    else:
        if len(text) - longest <= MAX_OTHER_BYTES:
            return
    raise _too_large(len(text))


def _too_large(size: int) -> ParameterError:
    return ParameterError("body", f"have at most {MAX_OTHER_BYTES:,} bytes besides the image", f"{size:,} in all")


def _start(body: bytes) -> str:
    return body[:40].decode("utf-8", "replace")


def parse_urlencoded(body: bytes) -> dict[str, object]:
    """Parse a form; the last one of several fields with one name counts.

    Raises
    ------
    ParameterError
        There are too many fields.
    ImageError
        There are too many escapes.
    """
    if body.count(b"&") >= MAX_FIELDS:
        raise ParameterError("body", f"have at most {MAX_FIELDS} fields", body.count(b"&") + 1)
    pairs = [pair.replace(b"+", b" ").partition(b"=") for pair in body.split(b"&") if pair]
    return {_text(name): _text(value) for name, _, value in pairs}


def _text(data: bytes) -> str:
    return percent_decode(data).decode("utf-8", "replace")


def percent_decode(data: bytes) -> bytes:
    """Decode `%41` and the like.

    Raises
    ------
    ImageError
        There are more than 2,000,000; only an image has so many.
    """
    if data.count(b"%") > _MAX_ESCAPES:
        raise ImageError(f"image has more than {_MAX_ESCAPES:,} percent escapes: send it as base64 or as a file")
    return unquote_to_bytes(data)


def check_sizes(fields: Mapping[str, object]) -> None:
    """Check that names and texts, besides the image, have 64 KB together.

    Raises
    ------
    ParameterError
        They have more.
    """
    sizes = {name: len(name) + (len(value) if isinstance(value, str | bytes) else 0) for name, value in fields.items()}
    total = sum(sizes.values())
    if total - sizes.get("image", 0) > MAX_OTHER_BYTES:
        raise _too_large(total)
