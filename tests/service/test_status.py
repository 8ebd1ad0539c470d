"""The table of error codes, and conversion of errors to a status and back."""

import inspect
from types import ModuleType
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from automask import errors as library
from automask.errors import AutomaskError, ImageError, MissingDependencyError, ParameterError, UnknownPromptError
from automask.service import errors as service
from automask.service.errors import InternalError, QueueFullError, RateLimitError, StoreError, UnavailableError
from automask.service.wire.status import TABLE, Metadata, error_from_rpc, row_of, to_error, to_status, trailing_metadata

SOFT_LIMIT = 8192  # bytes of metadata that a peer takes by default

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
seconds = st.none() | st.floats(0, 1e6).map(lambda value: round(value, 6))
with_attributes = (
    st.builds(ParameterError, text, text, text | st.integers() | st.floats() | st.booleans())
    | st.builds(UnknownPromptError, text, known=st.integers(1, 999), nearest=st.lists(text, max_size=3).map(tuple))
    | st.builds(QueueFullError, text, retry_after=seconds)
    | st.builds(RateLimitError, text, retry_after=seconds)
    | st.builds(UnavailableError, text, retry_after=seconds)
)
SENTENCES = sorted(set(TABLE) - {ParameterError, UnknownPromptError}, key=lambda kind: kind.__name__)
errors = with_attributes | st.builds(lambda kind, words: kind(words), st.sampled_from(SENTENCES), text)


class _Ended(Exception):  # noqa: N818 (as grpc names its own)
    """What grpc raises, without a connection."""

    def __init__(self, code: grpc.StatusCode, details: str, metadata: Metadata = ()) -> None:
        self._code, self._details, self._metadata = code, details, metadata

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Metadata:
        return self._metadata


def ended(code: grpc.StatusCode, details: str, metadata: Metadata = ()) -> Any:
    return _Ended(code, details, metadata)


@pytest.mark.parametrize("module", [library, service])
def test_every_error_has_a_row(module: ModuleType) -> None:
    named = {kind for name in module.__all__ if inspect.isclass(kind := getattr(module, name))}
    assert named - {AutomaskError} <= set(TABLE)


def test_reasons_are_unique() -> None:
    assert len({row.reason for row in TABLE.values()}) == len(TABLE)


def test_one_code_has_one_http_status() -> None:
    found = {(row.code, row.http) for row in TABLE.values()}
    assert len({code for code, _ in found}) == len(found)


@given(errors)
def test_an_error_survives_the_round_trip(error: AutomaskError) -> None:
    status = to_status(error)
    code = row_of(error).code
    assert code.value[0] == status.code
    back = error_from_rpc(ended(code, status.message, trailing_metadata(status)), "server")
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert vars(back) == {name: str(value) if name == "value" else value for name, value in vars(error).items()}


@given(st.text(min_size=1), st.integers(1, 3000))
def test_every_status_fits_into_metadata(part: str, times: int) -> None:
    words = part * times
    unknown = UnknownPromptError(words, known=80, nearest=(words, part, part))
    for error in (ParameterError("prompts", words, words), unknown, ImageError(words)):
        status = to_status(error)
        sent = 4 * len(status.SerializeToString()) / 3 + 3 * len(status.message.encode())
        assert sent < SOFT_LIMIT
        assert type(to_error(status)) is type(error)


def test_of_long_suggestions_those_are_sent_that_fit() -> None:
    nearest = ("\x1f" * 40, "𐀀" * 150, "x" * 500)
    back = to_error(to_status(UnknownPromptError("cat", known=80, nearest=nearest)))
    assert isinstance(back, UnknownPromptError)
    assert (back.nearest, back.parts) == (nearest[:1], ("cat",))


def test_a_long_message_keeps_both_ends() -> None:
    message = to_status(UnknownPromptError("ü" * 5000, known=80)).message
    assert message.startswith("'ü")
    assert message.endswith("`automask export --list`.")


@pytest.mark.parametrize("error", [ZeroDivisionError("secret"), KeyError("secret"), AutomaskError("secret")])
def test_an_unexpected_error_shows_only_the_request_id(error: Exception) -> None:
    status = to_status(error, "4711")
    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert "secret" not in str(status)
    back = to_error(status)
    assert type(back) is InternalError
    assert "4711" in str(back)
    assert row_of(error).http == 500


def test_a_subclass_has_the_row_of_its_class() -> None:
    class BadSeedError(ParameterError):
        pass

    assert type(to_error(to_status(BadSeedError("seed", "be small", 9)))) is ParameterError


def _details(error: Exception) -> dict[type, list[object]]:
    found: dict[type, list[object]] = {}
    for detail in to_status(error).details:
        for kind in (ErrorInfo, BadRequest, RetryInfo):
            message = kind()
            if detail.Unpack(message):
                found.setdefault(kind, []).append(message)
    return found


@pytest.mark.parametrize(
    ("error", "field", "reason"),
    [
        (ParameterError("grow_mask", "be an integer in [0, 100]", 101), "grow_mask", "INVALID_PARAMETER"),
        (ImageError("truncated JPEG"), "image", "INVALID_IMAGE"),
        (UnknownPromptError("xylograph", known=80), "prompts", "UNKNOWN_PROMPT"),
    ],
)
def test_the_status_names_the_invalid_field(error: Exception, field: str, reason: str) -> None:
    found = _details(error)
    (info,) = found[ErrorInfo]
    (bad,) = found[BadRequest]
    assert isinstance(info, ErrorInfo)
    assert isinstance(bad, BadRequest)
    assert (info.domain, info.reason) == ("automask", reason)
    (violation,) = bad.field_violations
    assert (violation.field, violation.reason) == (field, reason)
    assert violation.description


def test_only_errors_with_a_retry_time_have_retry_info() -> None:
    (retry,) = _details(RateLimitError("slower", retry_after=1.5))[RetryInfo]
    assert isinstance(retry, RetryInfo)
    assert retry.retry_delay.ToMilliseconds() == 1500
    assert RetryInfo not in _details(RateLimitError("slower"))
    assert RetryInfo not in _details(StoreError("full"))


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, UnavailableError),
        (grpc.StatusCode.INTERNAL, UnavailableError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, service.DeadlineError),
        (grpc.StatusCode.CANCELLED, library.CancelledError),
        (grpc.StatusCode.UNAUTHENTICATED, service.UnauthenticatedError),
        (grpc.StatusCode.NOT_FOUND, service.NotFoundError),
        (grpc.StatusCode.INVALID_ARGUMENT, ParameterError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, QueueFullError),
        (grpc.StatusCode.UNIMPLEMENTED, InternalError),
    ],
)
def test_errors_of_the_transport_are_mapped_by_code(code: grpc.StatusCode, kind: type[AutomaskError]) -> None:
    error = error_from_rpc(ended(code, "as the transport says"), "box:50051")
    assert type(error) is kind
    assert str(error) == "box:50051: as the transport says"


def test_reasons_of_other_domains_are_ignored() -> None:
    status = Status(code=grpc.StatusCode.NOT_FOUND.value[0], message="no such bucket")
    status.details.add().Pack(ErrorInfo(reason="INVALID_IMAGE", domain="storage.example"))
    assert type(to_error(status)) is service.NotFoundError


def test_names_that_are_not_unicode_can_be_sent() -> None:
    error = StoreError("cannot open '/srv/\udcff.sqlite3'")
    assert "udcff" in str(to_error(to_status(error)))


def test_a_missing_package_keeps_its_message() -> None:
    assert str(to_error(to_status(MissingDependencyError("pip install it")))) == "pip install it"
