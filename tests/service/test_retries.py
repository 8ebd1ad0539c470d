"""When a client tries again: pure functions, and a clock that only moves when told."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automask.errors import AutomaskError, CancelledError, DeviceError, ImageError
from automask.service.client.retries import MAX_TRIES, Tries, backoff, passes
from automask.service.errors import (
    DeadlineError,
    InternalError,
    NotFoundError,
    OutOfCreditsError,
    QueueFullError,
    RateLimitError,
    UnauthenticatedError,
    UnavailableError,
)

chances = st.floats(0, 1)
waits = st.none() | st.floats(0, 100)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UnavailableError("draining"), True),
        (DeviceError("gone"), True),
        (QueueFullError("full", retry_after=0.0), True),
        (RateLimitError("slower", retry_after=1.0), True),
        (QueueFullError("larger than the message limit"), False),
        *((kind("no"), False) for kind in (ImageError, CancelledError, DeadlineError, InternalError, NotFoundError)),
        *((kind("no"), False) for kind in (OutOfCreditsError, UnauthenticatedError)),
    ],
)
def test_only_what_passes_is_tried_again(error: AutomaskError, *, expected: bool) -> None:
    assert passes(error) is expected


@given(st.integers(1, 10_000), waits, chances)
def test_a_pause_is_as_long_as_the_server_wants_and_bounded(
    failures: int, retry_after: float | None, chance: float
) -> None:
    least = retry_after or 0.0
    assert least <= backoff(failures, retry_after, chance) <= least + 5.0


@given(st.integers(1, 100), chances)
def test_pauses_grow(failures: int, chance: float) -> None:
    assert backoff(failures, None, chance) <= backoff(failures + 1, None, chance)


@given(st.lists(waits, min_size=30, max_size=30), st.floats(0, 60), st.lists(chances, min_size=30, max_size=30))
def test_the_tries_of_a_call_never_take_more_than_its_time(
    told: list[float | None], timeout: float, drawn: list[float]
) -> None:
    now, tries = [0.0], 0
    call = Tries(timeout, clock=lambda: now[0], chance=iter(drawn).__next__)
    with suppress(UnavailableError):
        for retry_after in told:
            tries += 1
            now[0] += call.after(UnavailableError("loading", retry_after=retry_after))
            assert call.left is not None
            assert call.left > 0
    assert now[0] <= timeout
    assert tries <= MAX_TRIES


def test_it_gives_up_after_some_tries_but_counts_anew_when_one_went_well() -> None:
    call = Tries(None)
    for _ in range(3):
        for _ in range(MAX_TRIES - 1):
            call.after(UnavailableError("loading"))
        call.went_well()
    for _ in range(MAX_TRIES - 1):
        call.after(UnavailableError("loading"))
    with pytest.raises(UnavailableError):
        call.after(UnavailableError("loading"))


def test_without_limits_it_never_gives_up() -> None:
    call = Tries(None, most=None)
    assert call.left is None
    assert max(call.after(UnavailableError("loading")) for _ in range(2000)) <= 5.0


def test_what_does_not_pass_is_raised_at_once() -> None:
    with pytest.raises(ImageError, match="truncated"):
        Tries(60.0).after(ImageError("truncated"))
