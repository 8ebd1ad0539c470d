"""Fields of a request body, parsed: types are converted leniently, ranges are strict. No I/O."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from automask import Parameters
from automask.errors import ImageError, ParameterError
from automask.selection import Selection

from ..core.task import OutputFormat, Task
from ..limits import MAX_PROMPT_LENGTH
from .parsing import check_sizes, percent_decode
from .schema import ARRAYS, SCHEMA

__all__ = ["Form", "parse_form"]

_BOOLEANS: Final = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}
_URL = re.compile("https?://", re.IGNORECASE)
_DATA = re.compile(r"data:(?P<header>[^,]*),", re.IGNORECASE)
_MAX_SHOWN = 60  # characters of a value in an error
_MAX_UNKNOWN = 20  # unknown parameters that a response names


@dataclass(frozen=True, slots=True)
class Form:
    """Parsed fields of a body.

    Attributes
    ----------
    image
        Content of an image file; or str, the URL of one.
    prompt
        What to mask; empty where the selection means an object by itself.
    exclude
        What to leave out; may be empty.
    parameters
        Parameters of the mask.
    model
        Name of the model; empty for the server's first one.
    unknown
        Names of unknown parameters.
    selection
        A box, points and instances of the prompt.
    """

    image: bytes | str = field(repr=False)
    prompt: str
    exclude: str
    parameters: Parameters
    model: str
    unknown: tuple[str, ...]
    selection: Selection

    def to_task(self, image: bytes, formats: Sequence[OutputFormat] = ()) -> Task:
        """Return the task.

        Parameters
        ----------
        image
            Content of the image file.
        formats
            Formats of the mask; empty for the one picture that the parameters choose.
        """
        return Task(
            image,
            (self.prompt,) if self.prompt else (),
            exclude=(self.exclude,) if self.exclude else (),
            parameters=self.parameters,
            model=self.model,
            formats=tuple(formats),
            selection=self.selection,
        )


def parse_form(fields: Mapping[str, object], *, needs_prompt: bool = True) -> Form:
    """Parse the fields of a body.

    Parameters
    ----------
    fields
        Fields of JSON or of a form: numbers and booleans may be text; None and blank text count as missing. An uploaded
        file is bytes.
    needs_prompt
        Whether a prompt is required where no box or points mean an object.

    Raises
    ------
    ParameterError
        A parameter is missing, of the wrong type, or out of range, or all of them are too large.
    ImageError
        The image is missing or malformed.
    """
    check_sizes(fields)
    for name in fields:
        _check_name(name)
    present = {name: value for name, value in fields.items() if not _is_blank(value)}
    parameters: dict[str, Any] = {
        name: parse(present[name])
        for name, schema in SCHEMA.items()
        if name in present and (parse := _PARSERS.get("choice" if "enum" in schema else schema["type"]))
    }
    selection = Selection.build(**{name: _parse_array(name, present[name]) for name in ARRAYS if name in present})
    return Form(
        image=_parse_image(present.get("image")),
        prompt=_parse_prompt(fields.get("prompt"), is_needed=needs_prompt and not selection.is_object),
        exclude=_parse_text("exclude", present.get("exclude", "")),
        parameters=Parameters(**parameters),
        model=_parse_text("model", present.get("model", "")),
        unknown=tuple(name[:_MAX_SHOWN] for name in fields if name not in SCHEMA)[:_MAX_UNKNOWN],
        selection=selection,
    )


def _check_name(name: str) -> None:
    """Refuse a name that no response could repeat."""
    if not name.strip() or not _is_unicode(name):
        raise ParameterError("the name of each parameter", "be Unicode text that is not blank", _shorten(name))


def _is_unicode(text: str) -> bool:
    """Whether a text can be encoded: JSON may hold half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_blank(value: object) -> bool:
    return value is None or value == [] or (isinstance(value, str) and not value.strip())


def _parse_number(value: object) -> object:
    """Return the number of a text; return anything else unchanged, for `Parameters` to reject."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _parse_integer(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"\s*[-+]?[0-9]{1,18}\s*", value):
        return int(value)  # a seed may have more digits than a float holds
    number = _parse_number(value)
    return int(number) if isinstance(number, float) and number.is_integer() else value


def _parse_boolean(value: object) -> object:
    return _BOOLEANS.get(str(value).strip().lower(), value) if isinstance(value, str | bool | int) else value


def _parse_choice(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


_PARSERS: Final[Mapping[object, Callable[[object], object]]] = {
    "number": _parse_number,
    "integer": _parse_integer,
    "boolean": _parse_boolean,
    "choice": _parse_choice,
}


def _parse_array(name: str, value: object) -> Any:  # noqa: ANN401 (Selection checks it)
    """Return an array that may be text: JSON, or numbers with commas and points with semicolons between them."""
    if not isinstance(value, str):
        return value
    try:
        if value.lstrip().startswith("["):
            return json.loads(value)
        rows = [[_parse_cell(cell) for cell in row.split(",")] for row in value.strip().strip(";").split(";")]
    except (ValueError, RecursionError):
        raise ParameterError(name, "be a JSON array or numbers with commas between them", _shorten(value)) from None
    return rows if name == "points" else rows[0]


def _parse_cell(text: str) -> int | float:
    return int(text) if re.fullmatch(r"\s*[-+]?[0-9]{1,18}\s*", text) else float(text)


def _parse_prompt(value: object, *, is_needed: bool) -> str:
    prompt = _parse_text("prompt", "" if value is None else value)
    if not prompt.strip() and not is_needed:
        return ""
    if not prompt.strip():
        raise ParameterError("prompt", "name what to mask", value)
    return prompt


def _parse_text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ParameterError(name, "be text", _shorten(value))
    if len(value) > MAX_PROMPT_LENGTH:
        raise ParameterError(name, f"have at most {MAX_PROMPT_LENGTH} characters", len(value))
    if not _is_unicode(value):
        raise ParameterError(name, "be Unicode text, without lone surrogates", _shorten(value))
    return value


def _shorten(value: object) -> object:
    """Shorten a value for an error message."""
    return value if len(repr(value)) <= _MAX_SHOWN else f"{repr(value)[:_MAX_SHOWN]}…"


def _parse_image(value: object) -> bytes | str:
    if value is None:
        raise ImageError("image is missing: send a data: URI, base64 or an http(s) URL, or upload a file")
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise ImageError(f"image must be text or an uploaded file, got {_shorten(value)!r}")
    text = value.strip()
    if _URL.match(text):
        return text
    if (match := _DATA.match(text)) is None:
        return _decode(text)
    data = text[match.end() :]
    return _decode(data) if match["header"].lower().endswith(";base64") else percent_decode(data.encode())


def _decode(text: str) -> bytes:
    """Decode base64 of either alphabet, with or without line breaks and padding."""
    packed = "".join(text.split()).rstrip("=")
    try:
        data = packed.encode("ascii").translate(bytes.maketrans(b"-_", b"+/"))
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise ImageError(
            f"image must be a data: URI, base64, an http(s) URL or an uploaded file, got {_shorten(text)!r}"
        ) from None
