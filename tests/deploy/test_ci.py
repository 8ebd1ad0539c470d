"""The rule of CI that a skipped test fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.skips import ALLOWED

CASES = {
    "test_mark.py": "@pytest.mark.skip(reason='no time')\ndef test_a(): assert False",
    "test_call.py": "def test_a(): pytest.skip('no time')",
    "test_fixture.py": "@pytest.fixture\ndef part(): pytest.skip('no time')\ndef test_a(part): pass",
    "test_package.py": "def test_a(): pytest.importorskip('package_that_nobody_has')",
    "test_file.py": "pytest.importorskip('package_that_nobody_has')\ndef test_a(): pass",
}
LISTED = [f"def test_{number}(): pytest.skip({reason!r})" for number, reason in enumerate(ALLOWED)]
GOOD = ["def test_passes(): pass", "@pytest.mark.xfail\ndef test_expected(): assert False", *LISTED]


def test_the_rule_is_active_in_this_run(request: pytest.FixtureRequest) -> None:
    assert request.config.pluginmanager.has_plugin("support.skips")


@pytest.mark.parametrize("ci", ["true", ""])
def test_a_skip_fails_in_ci_unless_its_reason_is_listed(tmp_path: Path, ci: str) -> None:
    for name, body in {**CASES, "test_good.py": "\n".join(GOOD)}.items():
        (tmp_path / name).write_text(f"import pytest\n{body}\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "support.skips", "-rfE", "--continue-on-collection-errors", tmp_path],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "CI": ci,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    red = [line.split()[1].partition(":")[0] for line in done.stdout.splitlines() if line.startswith(("FAIL", "ERR"))]
    assert sorted(red) == (sorted(CASES) if ci else []), done.stdout
    assert done.returncode == (1 if ci else 0)
    skipped = len(ALLOWED) + (0 if ci else len(CASES))
    assert f"1 passed, {skipped} skipped, 1 xfailed" in done.stdout
