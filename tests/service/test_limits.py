"""Durations, rates and rate limiters."""

import sqlite3
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, nullcontext
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from automask.errors import ParameterError
from automask.service.config.durations import format_duration, parse_duration
from automask.service.config.locations import PostgresUrl
from automask.service.errors import RateLimitError
from automask.service.keys.postgres_rate_limits import PostgresRateLimiter
from automask.service.keys.rate_limits import Rate, RateLimiter
from automask.service.keys.sqlite import SqliteKeyStore
from automask.service.keys.sqlite_rate_limits import SqliteRateLimiter
from automask.service.postgres.database import Database
from support.postgres import Postgres

rates = st.builds(Rate, st.integers(1, 1_000_000), st.sampled_from(["s", "min", "h"]))


class Clock:
    """A clock that is set by the test."""

    def __init__(self) -> None:
        self.now = 12_345

    def __call__(self) -> int:
        return self.now


Maker = Callable[[Clock], RateLimiter]


@contextmanager
def limiters_in(path: Path) -> Iterator[Callable[[str, Clock], RateLimiter]]:
    """A factory of limiters in a key file."""
    with closing(SqliteKeyStore(path, create=True)), ExitStack() as connections:

        def limiter(kind: str, clock: Clock) -> RateLimiter:
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            connections.enter_context(closing(connection))
            return SqliteRateLimiter(connection, kind, errors=nullcontext, clock=clock)

        yield limiter


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Maker]:
    """A factory of limiters without state."""
    if request.param == "sqlite":
        with limiters_in(tmp_path_factory.mktemp("limits") / "keys") as limiter:
            yield lambda clock: limiter(uuid.uuid4().hex, clock)
    else:
        url = PostgresUrl(request.getfixturevalue("postgres").create_database())
        with closing(Database(url, connections=4)) as database:
            yield lambda clock: PostgresRateLimiter(database, uuid.uuid4().hex, clock=clock)


def passes(limiter: RateLimiter, name: str, rate: Rate) -> bool:
    try:
        limiter.take(name, rate)
    except RateLimitError:
        return False
    return True


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        ("1h", 3600),
        ("30s", 30),
        ("1h30m", 5400),
        ("500ms", 0.5),
        ("2d", 172_800),
        ("1.5h", 5400),
        ("1m1s1ms", 61.001),
        ("90", 90),
        ("0", 0),
        (90, 90),
        (0.25, 0.25),
        ("10000d", 864_000_000),
    ],
)
def test_valid_durations(duration: str | float, seconds: float) -> None:
    assert parse_duration(duration) == seconds


NO_DURATIONS = (
    *("", " ", "1 h", "1x", "h", "-1s", "1m1h", "1s1s", "1h30", "1.s", ".5s", "1e3", "nan", "inf", "١s", "1s "),
    *("9" * 5000, "10001d", -1, True, None, float("nan"), float("inf"), 10**400),
)


@pytest.mark.parametrize("duration", NO_DURATIONS)
def test_invalid_durations(duration: str | float) -> None:
    with pytest.raises(ParameterError, match=r"^retention must be a duration .* such as 30s, .*, got ") as caught:
        parse_duration(duration, parameter="retention")
    assert caught.value.value is duration


@given(st.integers(0, 864_000_000_000_000))
@example(999_999)
def test_a_formatted_duration_parses_to_the_microsecond(micros: int) -> None:
    assert parse_duration(format_duration(micros / 1e6)) == micros / 1e6


@given(rates)
def test_a_formatted_rate_parses(rate: Rate) -> None:
    assert Rate.parse(str(rate)) == rate


@pytest.mark.parametrize(
    "text", ["", "10", "10/", "/s", "0/s", "-1/s", "1.5/s", "10/d", "10/S", "10 / s", "10/s ", "1000001/s", "٣/s"]
)
def test_invalid_rates(text: str) -> None:
    with pytest.raises(ParameterError, match=r"^rate must be a whole number .* such as 10/s, .*, got ") as caught:
        Rate.parse(text)
    assert caught.value.value == text


@settings(max_examples=20)
@given(rates, st.lists(st.integers(0, 4_000_000_000_000), max_size=60))
def test_no_period_exceeds_burst_plus_rate(make: Maker, rate: Rate, steps: list[int]) -> None:
    clock = Clock()
    limiter = make(clock)
    passed = []
    for step in steps:
        clock.now += step % (3 * rate.nanoseconds // rate.count + 2)
        if passes(limiter, "camera", rate):
            passed.append(clock.now)
    for first, begin in enumerate(passed):
        for last, end in enumerate(passed[first:], first):
            assert (last - first + 1 - rate.count) * rate.nanoseconds <= (end - begin) * rate.count


@settings(max_examples=20)
@given(
    st.builds(Rate, st.integers(1, 7), st.sampled_from(["s", "min", "h"])), st.lists(st.integers(0, 400), max_size=60)
)
def test_it_equals_a_token_bucket(make: Maker, rate: Rate, steps: list[int]) -> None:
    clock = Clock()
    limiter = make(clock)
    tokens = rate.count * rate.nanoseconds  # a request takes `rate.nanoseconds` of them
    for step in steps:
        moved = rate.nanoseconds // 100 * step
        clock.now += moved
        tokens = min(tokens + moved * rate.count, rate.count * rate.nanoseconds)
        there = tokens >= rate.nanoseconds
        assert passes(limiter, "camera", rate) == there
        tokens -= rate.nanoseconds * there


@settings(max_examples=20)
@given(rates, st.integers(0, 10**13))
def test_retry_after_is_exact(make: Maker, rate: Rate, start: int) -> None:
    clock = Clock()
    clock.now = start
    limiter = make(clock)
    rate = Rate(rate.count % 50 + 1, rate.unit)
    for _ in range(rate.count):
        limiter.take("camera", rate)
    with pytest.raises(RateLimitError, match=rf"rate limit exceeded for key 'camera' \({rate}\); retry in ") as caught:
        limiter.take("camera", rate)
    assert caught.value.retry_after is not None
    wait = round(caught.value.retry_after * 1e9)
    clock.now += wait - 1
    assert not passes(limiter, "camera", rate)
    clock.now += 1
    assert passes(limiter, "camera", rate)
    assert not passes(limiter, "camera", rate)


def test_each_key_has_its_own_bucket_unless_it_is_unlimited(make: Maker) -> None:
    limiter = make(Clock())
    once = Rate(1, "h")
    assert passes(limiter, "a", once)
    assert passes(limiter, "b", once)
    assert not passes(limiter, "a", once)
    assert passes(limiter, "a", Rate(2, "h"))  # a changed rate
    for _ in range(1000):
        limiter.take("c", None)


def test_full_buckets_in_a_file_are_deleted(tmp_path: Path) -> None:
    clock = Clock()
    rate = Rate(1, "min")
    with limiters_in(tmp_path / "keys") as make, closing(sqlite3.connect(tmp_path / "keys")) as file:
        limiter = make("tasks", clock)
        for number in range(200):
            clock.now += 1_000_000_000
            limiter.take(f"key-{number}", rate)
        assert file.execute("SELECT count(*) FROM buckets").fetchone() == (60,)
        assert not passes(limiter, "key-199", rate)


def test_a_bucket_in_a_file_is_full_after_a_restart_of_the_machine(tmp_path: Path) -> None:
    clock = Clock()
    clock.now = 10**18
    with limiters_in(tmp_path / "keys") as make:
        limiter = make("tasks", clock)
        assert [passes(limiter, "camera", Rate(1, "h")) for _ in range(2)] == [True, False]
        clock.now = 1
        assert [passes(limiter, "camera", Rate(1, "h")) for _ in range(2)] == [True, False]


def test_servers_share_a_bucket_in_a_key_file(tmp_path: Path) -> None:
    with (
        closing(SqliteKeyStore(tmp_path / "keys", create=True)) as one,
        closing(SqliteKeyStore(tmp_path / "keys")) as other,
    ):
        limiters = [store.limiter("tasks") for store in (one, other)]
        assert [passes(limiters[number % 2], "camera", Rate(3, "h")) for number in range(6)] == [True] * 3 + [False] * 3
        assert passes(one.limiter("fetches"), "camera", Rate(3, "h")), "another kind has its own"


def test_concurrent_threads_take_no_more_than_the_tokens(make: Maker) -> None:
    limiter = make(Clock())
    often = sys.getswitchinterval()
    sys.setswitchinterval(1e-7)  # switch threads as often as possible
    try:
        with ThreadPoolExecutor(4) as pool:
            taken = list(pool.map(lambda _: passes(limiter, "camera", Rate(700, "s")), range(1000)))
    finally:
        sys.setswitchinterval(often)
    assert sum(taken) == 700


def test_full_buckets_in_a_database_are_deleted(postgres: Postgres) -> None:
    url = PostgresUrl(postgres.create_database())
    clock = Clock()
    with closing(Database(url, connections=1)) as database:
        limiter = PostgresRateLimiter(database, "tasks", clock=clock)
        for number in range(100):
            clock.now += 10_000_000_000
            limiter.take(f"key-{number}", Rate(1, "min"))
    assert postgres.execute("SELECT count(*) FROM automask.buckets", str(url).rpartition("/")[2]) == [(6,)]


def test_servers_share_a_bucket_and_the_clock_of_the_database(postgres: Postgres) -> None:
    url = PostgresUrl(postgres.create_database())
    with closing(Database(url, connections=1)) as one, closing(Database(url, connections=1)) as other:
        limiters = [PostgresRateLimiter(database, "tasks") for database in (one, other)]
        assert [passes(limiters[number % 2], "camera", Rate(3, "h")) for number in range(6)] == [True] * 3 + [False] * 3
        with pytest.raises(RateLimitError) as caught:
            limiters[0].take("camera", Rate(3, "h"))
        assert 1100 < (caught.value.retry_after or 0) <= 1200
        assert passes(PostgresRateLimiter(one, "fetches"), "camera", Rate(3, "h")), "another kind has its own"
