"""Random request bodies: valid ones, ones with hostile values, and mutated bytes; a seed gives the same ones again."""

from __future__ import annotations

import base64
import io
import json
from random import Random
from typing import Any
from urllib.parse import urlencode

from PIL import Image

__all__ = ["TINY", "mutate", "random_body"]


def _tiny() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 6), (200, 90, 20)).save(file, "PNG")
    return file.getvalue()


TINY = _tiny()
"""A PNG file of 8 × 6 pixels."""

_NAMES = ("image", "prompt", "exclude", "threshold", "grow_mask", "invert_mask", "return_mask", "return_alpha")
_MORE_NAMES = ("stop_on_empty_mask", "seed", "base64", "model", "unknown", "", " ", "\ud800", "a\nb", "é", "x" * 300)
_VALUES: tuple[Any, ...] = (
    *("cup", "", " ", "\ud800", "cup \udfff", "\0", "é", "cup\r\nx: y", "a " * 600, "👍", "\u202e", "not a cup"),
    *(0, 1, -1, 0.5, 1e308, -0.0, 10**400, -(10**400), 2**63, 10**15, float("nan"), float("inf"), True, False, None),
    *("1e999", "nan", "1" * 400, "0x10", "１", "1_0", "true", "maybe", "-", "+1", "1e-400", "٣"),
    *([], {}, [[]], ["cup"], {"a": 1}, [None] * 50, "default", "none"),
    *("http://xn--n3h/", "http://[::1/", "https://a:99999999999/", "http://\ud800/", "HTTP://a..b/", "http://%00/"),
    *("data:,", "data:;base64,%%%", "data:image/png;base64,AAAA", "AAAA", "=", "http://" + "a" * 3000 + "/"),
)


def random_body(random: Random) -> tuple[bytes, str]:
    """Return a body and its content type."""
    fields = _random_fields(random)
    kind = random.choice(("json", "json", "json", "urlencoded", "multipart", "bytes"))
    if kind == "json":
        body, content_type = json.dumps(fields, ensure_ascii=random.random() < 0.7), "application/json"
        data = body.encode("utf-8", "surrogatepass")
    elif kind == "urlencoded":
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
        data, content_type = urlencode(texts, errors="surrogatepass").encode(), "application/x-www-form-urlencoded"
    elif kind == "multipart":
        data, content_type = _multipart(random, fields)
    else:
        data = random.randbytes(random.randrange(60))
        content_type = random.choice(("application/json", "multipart/form-data", "text/plain", "", "a/b; boundary="))
    return (mutate(random, data) if random.random() < 0.4 else data), content_type


def _random_fields(random: Random) -> dict[str, Any]:
    fields: dict[str, Any] = {"image": base64.b64encode(TINY).decode(), "prompt": "cup"}
    for _ in range(random.choice((0, 1, 1, 1, 2, 5))):
        fields[random.choice((*_NAMES, *_MORE_NAMES))] = random.choice(_VALUES)
    for name in ("image", "prompt"):
        if random.random() < 0.05:
            fields.pop(name, None)
    return fields


def _multipart(random: Random, fields: dict[str, Any]) -> tuple[bytes, str]:
    boundary = random.choice(("b", "b", "x" * 70, "'()+_,-./:=?"))
    parts = []
    for name, value in fields.items():
        if name == "image" and random.random() < 0.7:
            head, content = f'name="{name}"; filename="a.png"\r\ncontent-type: image/png', TINY
        else:
            head, content = f'name="{name}"', str(value).encode("utf-8", "surrogatepass")
        start = f"--{boundary}\r\ncontent-disposition: form-data; {head}\r\n\r\n".encode("utf-8", "surrogatepass")
        parts.append(start + content + b"\r\n")
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def mutate(random: Random, data: bytes) -> bytes:
    """Return data with a few bytes changed, inserted, repeated or cut off."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        start = random.randrange(len(changed) + 1)
        match random.randrange(5):
            case 0:
                changed[start : start + 1] = random.randbytes(1)
            case 1:
                changed[start:start] = random.randbytes(random.randrange(1, 9))
            case 2:
                del changed[start : start + random.randrange(1, 9)]
            case 3:
                changed[start:start] = changed[start : start + random.randrange(1, 40)]
            case _:
                del changed[start:]
    return bytes(changed)
