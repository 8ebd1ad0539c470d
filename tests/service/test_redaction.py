"""What a log may show of an error, and how often."""

from __future__ import annotations

import logging

import pytest
import structlog
from structlog.testing import LogCapture

from automask import ParameterError, UnknownPromptError
from automask.service.errors import StoreError
from automask.service.telemetry import outages
from automask.service.telemetry.outages import OutageLog
from automask.service.telemetry.redaction import bounded, describe_error, format_tracebacks, safe_tracebacks
from automask.service.telemetry.repeats import LimitRepeats

CANARY = "zyxcanary"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError(f"invalid literal: {CANARY!r}"), "invalid literal: …"),
        (ValueError(f"can't read '{CANARY}' in \"it's {CANARY}\" here"), "can… here"),
        (ValueError(f"cut off: '{CANARY}"), "cut off: …"),
        (ValueError("long: '" + CANARY * 1000 + "' and " + CANARY), "long: …"),
        (KeyError(CANARY), "…"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (ParameterError("threshold", "be a number in [0, 1]", CANARY), "threshold must be a number in [0, 1]"),
        (UnknownPromptError(CANARY, known=80), "the prompt has words that are not in the vocabulary of the model"),
    ],
)
def test_an_error_is_described_without_what_it_quotes(error: Exception, text: str) -> None:
    assert describe_error(error) == text


def test_a_traceback_has_frames_and_causes_but_no_values() -> None:
    known: dict[str, int] = {}

    def fail(secret: str) -> None:
        try:
            known[secret]
        except KeyError as error:
            raise ValueError(f"not {secret!r}") from error

    with pytest.raises(ValueError, match="not ") as caught:
        fail(CANARY)
    event = safe_tracebacks(None, "error", {"event": "a bug", "exc_info": caught.value})
    assert [one["exc_type"] for one in event["exception"]] == ["ValueError", "KeyError"]
    assert event["exception"][0]["frames"][-1]["name"] == "fail"
    text = format_tracebacks(None, "error", event)["exception"]
    assert "in fail\nValueError: not …" in text
    assert CANARY not in text


def test_deep_tracebacks_and_long_values_are_cut() -> None:
    def recurse(depth: int) -> None:
        if not depth:
            raise ValueError("deep")
        recurse(depth - 1)

    with pytest.raises(ValueError, match="deep") as caught:
        recurse(200)
    event = safe_tracebacks(None, "error", {"event": "x" * 5000, "exc_info": caught.value, "count": 7})
    event = bounded(None, "error", format_tracebacks(None, "error", event))
    assert len(event["event"]) == 1001
    assert len(event["exception"].splitlines()) == 33
    assert event["count"] == 7


def test_a_warning_that_repeats_is_dropped_for_a_while() -> None:
    limit = LimitRepeats()

    def passes(level: int, message: str) -> bool:
        return limit.filter(logging.LogRecord("asyncio", level, __file__, 1, message, None, None))

    assert passes(logging.ERROR, "socket.accept() out of system resource\nsocket: 1")
    assert not any(passes(logging.ERROR, f"socket.accept() out of system resource\nsocket: {n}") for n in range(100))
    assert passes(logging.ERROR, "another error")
    assert all(passes(logging.INFO, "listening") for _ in range(5))


def test_an_outage_is_one_line_some_counts_and_one_line_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = LogCapture()
    monkeypatch.setattr(outages, "_log", structlog.wrap_logger(None, [lines], wrapper_class=structlog.BoundLogger))
    now = 100.0
    outage = OutageLog("store", clock=lambda: now)
    outage.worked()
    for second in range(40):
        now = 100.0 + second
        for _ in range(4):
            outage.failed(StoreError("away"))
        outage.worked()  # one success among failures
    now += 5
    outage.worked()
    outage.worked()
    outage.failed(StoreError("full"))
    assert lines.entries == [
        {"event": "store", "log_level": "error", "problem": "away"},
        {"event": "store", "log_level": "error", "problem": "away", "more": 59, "seconds": 15},
        {"event": "store", "log_level": "error", "problem": "away", "more": 59, "seconds": 30},
        {"event": "store: works again", "log_level": "warning", "more": 39, "seconds": 39},
        {"event": "store", "log_level": "error", "problem": "full"},
    ]
