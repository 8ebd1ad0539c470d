"""What a log may show of an error: never its quotations, which can be a prompt, an API key or part of an image."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator
from typing import Any, Final

from structlog.typing import EventDict

from automask.errors import ParameterError, UnknownPromptError

__all__ = ["bounded", "describe_error", "describe_traceback", "format_tracebacks", "safe_tracebacks"]

_MAX_TEXT: Final = 1000  # characters of one value
_MAX_MESSAGE: Final = 300  # characters of an exception's message
_MAX_SEARCHED: Final = 3000  # characters of a message; behind them a quotation may be open
_MAX_FRAMES: Final = 30  # of one exception: the outermost half and the innermost half
_MAX_EXCEPTIONS: Final = 5  # in one chain
_QUOTED: Final = re.compile(r"""['"](.*['"]|.*)""", re.DOTALL)
_OPEN: Final = re.compile(r"""['"].*""", re.DOTALL)


def describe_error(error: BaseException) -> str:
    """Return the message of an error without anything that it quotes."""
    if isinstance(error, UnknownPromptError):
        return "the prompt has words that are not in the vocabulary of the model"
    if isinstance(error, ParameterError):  # whose value a client sent
        return _redact(f"{error.parameter} must {error.requirement}")
    return _redact(_text(error))


def _redact(text: str) -> str:
    """Cut out everything from the first quotation mark to the last one: a quoted text may contain quotation marks."""
    pattern = _QUOTED if len(text) <= _MAX_SEARCHED else _OPEN
    return _shorten(pattern.sub("…", text[:_MAX_SEARCHED]), _MAX_MESSAGE)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 (the log line is about another error)
        return "(no message)"


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"


def safe_tracebacks(_logger: object, _name: str, event: EventDict) -> EventDict:
    """Replace ``exc_info`` by ``exception``: types, redacted messages, and frames without local variables."""
    found = event.pop("exc_info", None)
    if found is True:
        found = sys.exc_info()[1]
    if isinstance(found, tuple):
        found = found[1]
    if isinstance(found, BaseException):
        event["exception"] = describe_traceback(found)
    return event


def describe_traceback(error: BaseException) -> list[dict[str, Any]]:
    """Return an error and what led to it, as `safe_tracebacks` does."""
    return [_describe(one, is_cause) for one, is_cause in _chain(error)]


def _chain(error: BaseException) -> Iterator[tuple[BaseException, bool]]:
    """Yield an error and what led to it, each with whether it was named as the cause of the one before."""
    is_cause, seen = False, set[int]()
    following: BaseException | None = error
    while following is not None and id(following) not in seen and len(seen) < _MAX_EXCEPTIONS:
        yield following, is_cause
        seen.add(id(following))
        is_cause = following.__cause__ is not None
        context = None if following.__suppress_context__ else following.__context__
        following = following.__cause__ or context


def _describe(error: BaseException, is_cause: bool) -> dict[str, Any]:
    frames = [
        {"filename": frame.f_code.co_filename, "lineno": line, "name": frame.f_code.co_name}
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    if len(frames) > _MAX_FRAMES:
        frames[_MAX_FRAMES // 2 : -_MAX_FRAMES // 2] = [{"filename": "…", "lineno": 0, "name": "…"}]
    return {
        "exc_type": type(error).__name__,
        "exc_value": _redact(_text(error)),
        "is_cause": is_cause,
        "frames": frames,
    }


def format_tracebacks(_logger: object, _name: str, event: EventDict) -> EventDict:
    """Make one text of what `safe_tracebacks` left in ``exception``."""
    found = event.get("exception")
    if isinstance(found, list):
        event["exception"] = "\n\n".join(map(_format, found))
    return event


def _format(error: dict[str, Any]) -> str:
    lines = [f'  File "{one["filename"]}", line {one["lineno"]}, in {one["name"]}' for one in error["frames"]]
    cause = "Caused by:\n" * error["is_cause"]
    return "\n".join(
        [f"{cause}Traceback (most recent call last):", *lines, f"{error['exc_type']}: {error['exc_value']}"]
    )


def bounded(_logger: object, _name: str, event: EventDict) -> EventDict:
    """Shorten the texts of an event, so that its line has a limited length."""
    for name, value in event.items():
        if name == "exception" or isinstance(value, int | float | None):
            continue  # tracebacks are limited already
        event[name] = _shorten(value if isinstance(value, str) else repr(value), _MAX_TEXT)
    return event
