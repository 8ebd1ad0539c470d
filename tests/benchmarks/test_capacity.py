"""The queueing model against exact formulas and against its simulation, and the capacity calculator."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from math import exp, inf, log
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.capacity_plan import dollars_per_million, fewest_servers
from harness.machine import ROOT
from harness.photos import zipf
from harness.queueing import Pass, Queue, Work, erlang_c
from questions.capacity.simulation import System, simulate, simulate_repeatedly

EXPONENTIAL = Pass(0.0, 1.0, tuple(-log(1 - (number + 0.5) / 400) for number in range(400)))
CONSTANT = Pass(0.0, 1.0)
PASSES = st.builds(
    Pass,
    st.floats(0.001, 1),
    st.floats(0, 0.1),
    st.lists(st.floats(0.5, 1.5), min_size=1, max_size=5).map(tuple),
)
WORKS = st.builds(Work, PASSES, PASSES, st.floats(0, 0.1), st.floats(0, 1), st.integers(1, 16))
BUSY = st.floats(0.01, 0.98)


def work(kind: Pass) -> Work:
    return Work(kind, kind)


@given(BUSY)
def test_one_server_matches_the_exact_formulas(busy: float) -> None:
    assert Queue(busy, work(CONSTANT), 1).wait == pytest.approx(busy / (2 * (1 - busy)))  # M/D/1
    memoryless = Queue(busy, work(EXPONENTIAL), 1)
    close = 0.03 if busy < 0.9 else 0.2  # the factors are 400 quantiles, and their mean is a little less than 1
    assert memoryless.wait == pytest.approx(busy / (1 - busy), rel=close)  # M/M/1
    for quantile in (0.5, 0.95):
        assert memoryless.latency(quantile) == pytest.approx(-log(1 - quantile) / (1 - busy), rel=close)


@given(BUSY, st.integers(1, 60))
def test_erlang_c_equals_its_definition_as_a_sum(busy: float, servers: int) -> None:
    load = busy * servers
    terms = [1.0]
    for number in range(1, servers + 1):
        terms.append(terms[-1] * load / number)
    last = terms[-1] / (1 - busy)
    assert erlang_c(load, servers) == pytest.approx(last / (sum(terms[:-1]) + last))


@given(WORKS, BUSY, BUSY, st.integers(1, 20))
def test_waits_grow_with_load_and_shrink_with_servers(one: Work, busy: float, other: float, servers: int) -> None:
    less, more = (Queue(share * servers / one.mean, one, servers) for share in sorted((busy, other)))
    assert less.wait <= more.wait * (1 + 1e-9)
    assert less.latency(0.95) <= more.latency(0.95) * (1 + 1e-5)
    assert replace(more, servers=servers + 1).wait <= more.wait
    assert more.latency(0.5) <= more.latency(0.95)
    assert replace(more, rate=servers / one.mean * 1.001).wait == inf


@given(WORKS, st.floats(0.1, 1000), st.floats(0.1, 1000))
def test_a_higher_rate_needs_no_fewer_servers(one: Work, rate: float, other: float) -> None:
    less, more = (fewest_servers(each, one) for each in sorted((rate, other)))
    assert less.servers <= more.servers
    assert more.utilisation <= 0.7
    assert more.servers == 1 or replace(more, servers=more.servers - 1).utilisation > 0.7


@given(st.floats(0.001, 1), st.floats(0, 0.1), st.lists(st.floats(0.9, 1.1), min_size=2, max_size=9))
def test_a_fit_recovers_the_line(fixed: float, each: float, factors: list[float]) -> None:
    mean = sum(factors) / len(factors)
    found = Pass.fitted({number: [(fixed + each * number) * one / mean for one in factors] for number in (1, 2, 8)})
    assert found.fixed == pytest.approx(fixed, abs=1e-6)
    assert found.each == pytest.approx(each, abs=1e-6)
    assert sum(found.factors) / len(found.factors) == pytest.approx(1)
    assert found.gain(1) == pytest.approx(1)
    assert found.gain(16) == pytest.approx(16 * (fixed + each) / (fixed + 16 * each), rel=1e-3)


def test_dollars_per_million_masks() -> None:
    queue = fewest_servers(50, Work(Pass(0.08, 0.02), CONSTANT, prompts=4))
    assert queue.servers == 12
    assert queue.work.mean == pytest.approx(0.16)
    assert dollars_per_million(queue, 0.53) == pytest.approx(12 * 0.53 / (50 * 4 * 3600) * 1e6)
    assert queue.work.sped_up(4).mean == pytest.approx(0.04)


def test_a_p95_needs_more_servers_or_is_refused() -> None:
    one = Work(Pass(0.1, 0.0), CONSTANT)
    assert fewest_servers(50, one).servers < fewest_servers(50, one, p95=0.11).servers
    assert fewest_servers(50, one, p95=0.11).latency(0.95) <= 0.11
    with pytest.raises(
        ValueError, match=r"p95 must be 0\.100 s or more, the time of a call without any wait, got 0\.05"
    ):
        fewest_servers(50, one, p95=0.05)


@pytest.mark.parametrize("servers", [1, 3])
def test_the_simulation_agrees_with_erlang_c(servers: int) -> None:
    outcome, error = simulate_repeatedly(System(0.7 * servers, work(EXPONENTIAL), servers), calls=10_000, runs=6)
    queue = Queue(0.7 * servers, work(EXPONENTIAL), servers)
    assert outcome.wait == pytest.approx(queue.wait, rel=0.1)
    assert error < 0.1
    assert outcome.busy == pytest.approx(0.7, rel=0.03)
    assert outcome.p95 == pytest.approx(queue.latency(0.95), rel=0.1)


def test_the_simulation_mixes_new_and_cached_photos() -> None:
    mixed = Work(Pass(0.9, 0.1), Pass(0.1, 0.1), call=0.05, hits=0.75)
    outcome, _ = simulate_repeatedly(System(0.3, mixed, 1), calls=10_000, runs=4)
    assert outcome.hits == pytest.approx(0.75, rel=0.03)
    assert outcome.wait == pytest.approx(Queue(0.3, mixed, 1).wait, rel=0.1)
    assert outcome.p50 == pytest.approx(0.25, abs=0.01)


def test_separate_queues_wait_longer_than_one_shared_queue() -> None:
    waits = [
        simulate(System(5.6, work(CONSTANT), 8, route), calls=8_000).wait
        for route in ("one queue", "two choices", "random")
    ]
    assert waits == sorted(waits)
    assert waits[2] == pytest.approx(Queue(0.7, work(CONSTANT), 1).wait, rel=0.15)  # eight times M/D/1


def test_sticky_routing_hits_caches_more_often() -> None:
    system = System(20, Work(Pass(0.1, 0.0), Pass(0.01, 0.0)), 8, "two choices", zipf(400), cache=20)
    anywhere, own = (simulate(replace(system, route=route), calls=8_000) for route in ("two choices", "sticky"))
    assert own.hits > 1.2 * anywhere.hits
    assert own.p50 == pytest.approx(0.01, rel=0.2)


def test_waiting_calls_on_one_photo_share_a_pass() -> None:
    system = System(20, Work(Pass(0.09, 0.01), Pass(0.09, 0.01)), 1, photos=(1.0,), cache=1, max_batch=16)
    outcome = simulate(system, calls=2_000)
    assert outcome.batch > 1.5  # twice as many as it could take one by one
    assert outcome.wait < 1
    assert outcome.hits > 0.99


def test_the_calculator(tmp_path: Path) -> None:
    alone = {"fixed": 0.09, "each": 0.01, "factors": [1.0]}
    setup = {"new": alone, "cached": {**alone, "fixed": 0.0}, "call": 0.002}
    (tmp_path / "capacity.json").write_text(json.dumps({"figures": {"setups": {"one worker": setup}}}))
    script = [sys.executable, str(ROOT / "benchmarks" / "capacity.py"), "--figures", str(tmp_path / "capacity.json")]
    done = subprocess.run([*script, "--rate", "50", "--price", "0.53"], capture_output=True, text=True, check=True)
    assert "| 50 | 0% | 1 | 8 | 62% |" in done.stdout
    assert "| 23.6 |" in done.stdout
    assert "$1,000 per million calls" in done.stdout
    assert Work.measured(setup, hits=1.0).mean == pytest.approx(0.01)

    done = subprocess.run(
        [*script, "--rate", "5", "--price", "1", "--p95", "0.05"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "p95 must be 0.102 s or more" in done.stderr


def test_what_is_not_alike_waits_longer() -> None:
    assert work(CONSTANT).variation == 0
    assert work(EXPONENTIAL).variation == pytest.approx(1, rel=0.02)
    assert Queue(0.5, work(CONSTANT), 1).within(0.999) == 0
    assert Queue(0.5, work(CONSTANT), 1).within(1.001) == pytest.approx(1 - 0.5 * exp(-0.001), rel=1e-3)
