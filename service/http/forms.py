"""The hosted API's parameters as they come: forgiving in type, strict in range. No input or output here."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from automask import Parameters
from automask.errors import ImageError, ParameterError

from ..core.task import OutputFormat, Task
from ..limits import MAX_PROMPT_LENGTH
from .schema import SCHEMA

__all__ = ["Form", "read_form"]

_WORDS: Final = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}
_URL = re.compile("https?://", re.IGNORECASE)
_DATA = re.compile(r"data:(?P<header>[^,]*),", re.IGNORECASE)
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Form:
    """What was asked for.

    Attributes
    ----------
    image
        The bytes of a file; or text, which is the URL of one.
    prompt
        What to mask.
    exclude
        What to leave out of it; may be empty.
    parameters
        How the mask is wanted.
    model
        Name of the model; empty for the first one of the server.
    unknown
        Names of parameters that mean nothing here.
    """

    image: bytes | str = field(repr=False)
    prompt: str
    exclude: str
    parameters: Parameters
    model: str
    unknown: tuple[str, ...]

    def to_task(self, image: bytes, formats: Sequence[OutputFormat] = ()) -> Task:
        """Return the task that was asked for.

        Parameters
        ----------
        image
            The bytes of its file, from wherever they came.
        formats
            The forms in which the mask comes back; none means the one picture that the parameters choose.
        """
        return Task(
            image,
            (self.prompt,),
            exclude=(self.exclude,) if self.exclude else (),
            parameters=self.parameters,
            model=self.model,
            formats=tuple(formats),
        )


def read_form(fields: Mapping[str, object]) -> Form:
    """Read the fields of a body.

    Parameters
    ----------
    fields
        As JSON or a form had them: numbers and booleans may be text, what is None or empty counts as left out.
        An uploaded file is bytes.

    Raises
    ------
    ParameterError
        One is missing, of another type, or out of its range.
    ImageError
        The image is missing, or in none of the forms that it may have.
    """
    given = {name: value for name, value in fields.items() if not _is_blank(value)}
    read: dict[str, Any] = {
        name: reader(given[name])
        for name, schema in SCHEMA.items()
        if name in given and (reader := _READERS.get(schema["type"]))
    }
    return Form(
        image=_read_image(given.get("image")),
        prompt=_read_prompt(fields.get("prompt")),
        exclude=_read_text("exclude", given.get("exclude", "")),
        parameters=Parameters(**read),
        model=_read_text("model", given.get("model", "")),
        unknown=tuple(str(name)[:_SHOWN] for name in fields if name not in SCHEMA),
    )


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _read_number(value: object) -> object:
    """Give the number that a text writes; what is none is left for `Parameters` to refuse."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _read_integer(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"\s*[-+]?[0-9]{1,18}\s*", value):
        return int(value)  # a seed may have more digits than a float holds
    number = _read_number(value)
    return int(number) if isinstance(number, float) and number.is_integer() else value


def _read_boolean(value: object) -> object:
    return _WORDS.get(str(value).strip().lower(), value) if isinstance(value, str | bool | int) else value


_READERS: Final[Mapping[object, Callable[[object], object]]] = {
    "number": _read_number,
    "integer": _read_integer,
    "boolean": _read_boolean,
}


def _read_prompt(value: object) -> str:
    prompt = _read_text("prompt", "" if value is None else value)
    if not prompt.strip():
        raise ParameterError("prompt", "name what to mask", value)
    return prompt


def _read_text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ParameterError(name, "be a text", _shown(value))
    if len(value) > MAX_PROMPT_LENGTH:
        raise ParameterError(name, f"have at most {MAX_PROMPT_LENGTH} characters", len(value))
    return value


def _shown(value: object) -> object:
    """Keep a value short enough for a sentence."""
    return value if len(repr(value)) <= _SHOWN else f"{repr(value)[:_SHOWN]}…"


def _read_image(value: object) -> bytes | str:
    if value is None:
        raise ImageError("image is missing: give a data: URI, base64, an http(s) URL, or upload a file")
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise ImageError(f"image must be a text or an uploaded file, got {_shown(value)!r}")
    text = value.strip()
    if _URL.match(text):
        return text
    if (match := _DATA.match(text)) is None:
        return _decode(text)
    data = text[match.end() :]
    return _decode(data) if match["header"].lower().endswith(";base64") else unquote_to_bytes(data)


def _decode(text: str) -> bytes:
    """Decode base64 of either alphabet, with or without line breaks and padding."""
    packed = "".join(text.split()).rstrip("=")
    try:
        data = packed.encode("ascii").translate(bytes.maketrans(b"-_", b"+/"))
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise ImageError(
            f"image must be a data: URI, base64, an http(s) URL or an uploaded file, got {_shown(text)!r}"
        ) from None
