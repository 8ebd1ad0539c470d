"""The benchmarks' runner and report, through their command lines; what they measure is not judged here."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.machine import ROOT
from harness.turns import by_turns, digits, figures_by_turns, spread, table, target
from questions import QUESTIONS

MEASURED = ["pipeline", "startup", "scaling", "postprocess", "service", "keeping", "writes", "durability", "capacity"]
SKIPPED = ["quality", "gpu", "cluster"]  # without photos, where there is no GPU, and for its minutes
SKIPPED = ["quality", "gpu", "cluster"]  # without photos, where there is no GPU, and for its minutes
(MEASURED if shutil.which("chromium") and shutil.which("chromedriver") else SKIPPED).append("playground")


def command(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(ROOT / "benchmarks" / script), *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    done = command("run.py", *MEASURED, "quality", "--quick", "--results", folder)
    assert done.returncode == 0, done.stderr
    assert "quality: skipped: it takes photos with ground truth" in done.stdout
    return folder


class Report:
    """The report on a folder of results, into a copy of the README."""

    def __init__(self, results: Path, folder: Path) -> None:
        self.readme, self.picture = folder / "README.md", folder / "docs" / "figures.svg"
        self.scaling = folder / "docs" / "scaling.md"
        self.scaling.parent.mkdir()
        shutil.copy(ROOT / "README.md", self.readme)
        shutil.copy(ROOT / "docs" / "scaling.md", self.scaling)
        self._places = ("--results", results, "--into", folder)

    def __call__(self, *options: str) -> subprocess.CompletedProcess[str]:
        return command("report.py", *options, *self._places)


def test_every_question_is_answered_and_says_on_what(results: Path) -> None:
    assert sorted(MEASURED + SKIPPED) == sorted(QUESTIONS)
    assert sorted(file.stem for file in results.iterdir()) == sorted(MEASURED)
    for question in MEASURED:
        answer = json.loads((results / f"{question}.json").read_text())
        assert answer["question"] == question
        assert answer["quick"]
        assert re.fullmatch(r"[0-9a-f]{12}\+?", answer["commit"])
        assert {"processor", "threads", "memory_gb", "system"} <= answer["machine"].keys()
        assert {"python", "automask", "numpy"} <= answer["versions"].keys()
        assert answer["seconds"] > 0
        assert answer["figures"]


def test_the_readme_and_the_picture_come_from_the_results(results: Path, tmp_path: Path) -> None:
    report = Report(results, tmp_path)
    before = report.readme.read_text()
    done = report("--check")
    assert done.returncode == 1
    assert all(str(file) in done.stderr for file in (report.readme, report.scaling, report.picture))
    assert (report.readme.read_text(), report.picture.exists()) == (before, False)

    assert report().returncode == 0
    written = report.readme.read_text()
    ours = json.loads((results / "pipeline.json").read_text())["figures"]["embedded"]["new photo"]["automask int8"]
    assert f"| new photo | {digits(ours['median'])} |" in written
    assert "they mean nothing" in written
    assert "**On a GPU**: not measured yet" in written
    assert "**On a GPU**" not in report.scaling.read_text()
    assert "[capacity](../benchmarks/results/capacity.json)" in report.scaling.read_text()
    assert report.picture.read_text().lstrip().startswith("<?xml")
    assert report("--check").returncode == 0

    drawn = report.picture.read_bytes()
    assert report().returncode == 0
    assert (report.readme.read_text(), report.picture.read_bytes()) == (written, drawn)


def test_other_results_are_noticed(results: Path, tmp_path: Path) -> None:
    copied = tmp_path / "results"
    shutil.copytree(results, copied)
    report = Report(copied, tmp_path)
    assert report().returncode == 0
    answer = json.loads((copied / "pipeline.json").read_text())
    answer["figures"]["embedded"]["new photo"]["automask int8"]["median"] += 1
    (copied / "pipeline.json").write_text(json.dumps(answer))
    done = report("--check")
    assert done.returncode == 1
    assert f"{report.readme} and {report.picture}: not what the figures give" in done.stderr


def test_a_readme_without_marks_is_left_alone(results: Path, tmp_path: Path) -> None:
    report = Report(results, tmp_path)
    report.readme.write_text("# Something else\n")
    done = report()
    assert done.returncode == 1
    assert "lacks the lines" in done.stderr
    assert report.readme.read_text() == "# Something else\n"


def test_the_projects_own_readme_is_what_its_results_give() -> None:
    done = command("report.py", "--check")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["speed"], "there is no question speed; choose of quality, pipeline"),
        (["postprocess", "--quick"], "--quick measures nothing that may stand in benchmarks/results"),
    ],
)
def test_what_the_runner_refuses(arguments: list[str], said: str) -> None:
    done = command("run.py", *arguments)
    assert done.returncode == 2
    assert said in done.stderr


def test_contenders_take_turns_and_all_do_the_same() -> None:
    calls: list[tuple[str, int]] = []
    found = by_turns({name: lambda turn, name=name: calls.append((name, turn)) for name in "AB"}, 2, warm=1)  # type: ignore[misc]
    assert calls == [(name, turn) for turn in (-1, 0, 1) for name in "AB"]
    assert {name: ms["n"] for name, ms in found.items()} == {"A": 2, "B": 2}


def test_who_has_used_up_the_time_is_timed_once() -> None:
    calls: list[str] = []
    found = by_turns({name: lambda _, name=name: calls.append(name) for name in "AB"}, 5, warm=1, seconds=0)  # type: ignore[misc]
    assert calls == ["A", "B"]
    assert {name: ms["n"] for name, ms in found.items()} == {"A": 1, "B": 1}


def test_those_that_measure_themselves_take_turns_too() -> None:
    calls: list[tuple[str, int]] = []

    def said(name: str, turn: int) -> dict[str, float]:
        calls.append((name, turn))
        return {"ms": turn, "mb": 7}

    found = figures_by_turns({name: partial(said, name) for name in "AB"}, 3)
    assert calls == [(name, turn) for turn in (-1, 0, 1, 2) for name in "AB"]
    for figures in found.values():
        assert (figures["ms"]["median"], figures["ms"]["n"], figures["mb"]["q3"]) == (1, 3, 7)


@given(st.lists(st.floats(0.001, 1e6), min_size=1))
def test_spreads_lie_within_the_figures(figures: list[float]) -> None:
    found = spread(figures)
    assert found["n"] == len(figures)
    ordered = [found[name] for name in ("q1", "median", "q3", "p95", "p99")]
    assert ordered == sorted(ordered)
    assert min(figures) - 0.001 <= ordered[0] <= ordered[-1] <= max(figures) + 0.001
    assert found["median"] == pytest.approx(np.median(figures), abs=0.001)


def test_what_is_missed_is_said() -> None:
    assert target(6.93, 5, at_least=True) == "6.93 (≥ 5)"
    assert target(4.9, 5, at_least=True) == "4.90 (≥ 5, missed)"
    assert target(0.26, 0.4, at_least=False) == "0.26 (≤ 0.4)"
    assert target(1550, 1.5, at_least=False) == "1,550 (≤ 1.5, missed)"


def test_tables_are_markdown() -> None:
    assert table(["a", "b"], [[1, "x"], [2, "y"]]) == "| a | b |\n| --- | --- |\n| 1 | x |\n| 2 | y |\n"
