"""Retries of the client, on a clock that only moves while it pauses."""

import random
from collections.abc import Iterable, Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import RetryCallState, Retrying

from automask.errors import AutomaskError, CancelledError, DeviceError, ImageError
from automask.service.client.retries import (
    MAX_ATTEMPTS,
    Deadline,
    count_anew,
    is_transient,
    pause,
    retry_options,
)
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

delays = st.none() | st.floats(0, 100)
seeds = st.integers(0, 2**32)


def pause_after(failures: int, retry_after: float | None = None, seed: int = 0) -> float:
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = failures
    error = UnavailableError("loading", retry_after=retry_after)
    state.set_exception((type(error), error, None))
    random.seed(seed)
    return pause(state)


class Attempts:
    """A call that always fails, and how often and how long it was retried."""

    def __init__(self, errors: Iterable[AutomaskError], timeout: float | None, max_attempts: int | None) -> None:
        self.now, self.count, self.pauses = 0.0, 0, list[float]()
        self._errors: Iterator[AutomaskError] = iter(errors)
        self.deadline = Deadline(timeout, clock=lambda: self.now)
        self.retrying = Retrying(**retry_options(self.deadline, max_attempts), sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        assert self.deadline.left is None or self.deadline.left > 0

    def fail(self) -> None:
        self.count += 1
        raise next(self._errors)

    def run(self) -> None:
        self.retrying(self.fail)


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
        (KeyboardInterrupt(), False),
    ],
)
def test_only_transient_errors_are_retried(error: BaseException, *, expected: bool) -> None:
    assert is_transient(error) is expected


@given(st.integers(1, 10_000), delays, seeds)
def test_a_pause_lasts_as_long_as_the_server_asks_and_at_most_5_s_more(
    failures: int, retry_after: float | None, seed: int
) -> None:
    least = retry_after or 0.0
    assert least <= pause_after(failures, retry_after, seed) <= least + 5.0


@given(st.integers(1, 100), seeds)
def test_pauses_grow_with_each_failure(failures: int, seed: int) -> None:
    assert pause_after(failures, seed=seed) <= pause_after(failures + 1, seed=seed)


@given(st.lists(delays, min_size=30, max_size=30), st.floats(0, 60))
def test_all_attempts_of_a_call_end_before_its_deadline(retry_after: list[float | None], timeout: float) -> None:
    errors = [UnavailableError("loading", retry_after=seconds) for seconds in retry_after]
    call = Attempts(errors, timeout, MAX_ATTEMPTS)
    with suppress(UnavailableError):
        call.run()
    assert call.now <= timeout
    assert 1 <= call.count <= MAX_ATTEMPTS


def test_a_call_gives_up_after_eight_attempts() -> None:
    call = Attempts([UnavailableError("loading")] * MAX_ATTEMPTS, None, MAX_ATTEMPTS)
    with pytest.raises(UnavailableError):
        call.run()
    assert call.count == MAX_ATTEMPTS == 8


def test_an_answer_resets_the_count_of_failures() -> None:
    call, answers = Attempts([], None, MAX_ATTEMPTS), 0
    with pytest.raises(UnavailableError):  # noqa: PT012 (the loop raises at its last step)
        for attempt in call.retrying:
            with attempt:
                if answers < 3 and attempt.retry_state.attempt_number == MAX_ATTEMPTS:
                    count_anew(attempt)
                    answers += 1
                raise UnavailableError("loading")
    assert len(call.pauses) == 4 * (MAX_ATTEMPTS - 1)


def test_without_limits_retries_never_end() -> None:
    call = Attempts([*[UnavailableError("loading")] * 2000, ImageError("truncated")], None, None)
    assert call.deadline.left is None
    with pytest.raises(ImageError):
        call.run()
    assert call.count == 2001
    assert max(call.pauses) <= 5.0


def test_other_errors_are_raised_at_once() -> None:
    call = Attempts([ImageError("truncated")], 60.0, MAX_ATTEMPTS)
    with pytest.raises(ImageError, match="truncated"):
        call.run()
    assert call.pauses == []
