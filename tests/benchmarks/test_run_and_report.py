"""`benchmarks/run.py` and `report.py` through their command lines. The figures themselves are not checked."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.machine import ROOT
from harness.options import RunOptions
from harness.tables import digits
from questions import QUESTIONS
from run import run

MEASURED = [
    "edges",
    "open_vocabulary",
    "concept",
    "pipeline",
    "startup",
    "scaling",
    "postprocess",
    "service",
    "store_latency",
    "store_throughput",
    "durability",
    "capacity",
]
SKIPPED = ["quality", "gpu", "cluster"]  # needs photos; needs a GPU; takes minutes
(MEASURED if shutil.which("chromium") and shutil.which("chromedriver") else SKIPPED).append("playground")


def command(script: str, *arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(ROOT / "benchmarks" / script), *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False, env={**os.environ, **env})


class Answers:
    """The results of a quick run. Each question runs once, in this process, when its figures are first needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "results"
        self._options = RunOptions(quick=True, folder=folder)

    def file(self, question: str) -> Path:
        """Return the file with the figures of a question."""
        file = self.folder / f"{question}.json"
        if not file.exists():
            run([question], self._options, self.folder)
        return file


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    return Answers(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def results(answers: Answers) -> Path:
    for question in MEASURED:
        answers.file(question)
    return answers.folder


class Report:
    """`report.py` on a folder of results, into copies of the pages that it writes."""

    def __init__(self, results: Path, folder: Path) -> None:
        docs = folder / "docs"
        docs.mkdir()
        self.benchmarks, self.scaling, self.matting, self.models, self.sam3 = (
            docs / name for name in ("benchmarks.md", "scaling.md", "matting.md", "models.md", "sam3.md")
        )
        self.picture = docs / "figures.svg"
        for page in (self.benchmarks, self.scaling, self.matting, self.models, self.sam3):
            shutil.copy(ROOT / "docs" / page.name, page)
        self._folders = ("--results", results, "--into", folder)

    def __call__(self, *options: str) -> subprocess.CompletedProcess[str]:
        return command("report.py", *options, *self._folders)


def test_each_question_is_measured_or_skipped() -> None:
    assert sorted(MEASURED + SKIPPED) == sorted(QUESTIONS)


@pytest.mark.parametrize("question", MEASURED)
def test_a_question_writes_its_figures_machine_and_versions(question: str, answers: Answers) -> None:
    answer = json.loads(answers.file(question).read_text())
    assert answer["question"] == question
    assert answer["quick"]
    assert re.fullmatch(r"[0-9a-f]{12}\+?", answer["commit"])
    assert {"processor", "threads", "memory_gb", "system"} <= answer["machine"].keys()
    assert {"python", "automask", "numpy"} <= answer["versions"].keys()
    assert answer["seconds"] > 0
    assert answer["figures"]


def test_only_measured_questions_have_a_file(results: Path) -> None:
    assert sorted(file.stem for file in results.iterdir()) == sorted(MEASURED)


def test_pages_and_pictures_are_made_from_the_results(results: Path, tmp_path: Path) -> None:
    report = Report(results, tmp_path)
    before = report.benchmarks.read_text()
    done = report("--check")
    assert done.returncode == 1
    assert all(str(file) in done.stderr for file in (report.benchmarks, report.scaling, report.matting, report.picture))
    assert (report.benchmarks.read_text(), report.picture.exists()) == (before, False)

    assert report().returncode == 0
    written = report.benchmarks.read_text()
    ours = json.loads((results / "pipeline.json").read_text())["figures"]["embedded"]["new photo"]["automask int8"]
    assert f"| new photo | {digits(ours['median'])} |" in written
    assert "they mean nothing" in " ".join(written.split())
    assert "**On a GPU**: not measured yet" in written
    assert "**On a GPU**" not in report.scaling.read_text()
    assert "[capacity](../benchmarks/results/capacity.json)" in report.scaling.read_text()
    assert "**Time of the modes**" in report.matting.read_text()
    assert "**Load and memory**" in report.models.read_text()
    assert "**SAM 3 by stages**" in report.sam3.read_text()
    assert "not run: no GPU" in report.sam3.read_text()
    assert report.picture.read_text().lstrip().startswith("<?xml")
    assert report("--check").returncode == 0

    drawn = report.picture.read_bytes()
    assert report().returncode == 0
    assert (report.benchmarks.read_text(), report.picture.read_bytes()) == (written, drawn)


def test_check_notices_changed_results(results: Path, tmp_path: Path) -> None:
    copied = tmp_path / "results"
    shutil.copytree(results, copied)
    report = Report(copied, tmp_path)
    assert report().returncode == 0
    answer = json.loads((copied / "pipeline.json").read_text())
    answer["figures"]["embedded"]["new photo"]["automask int8"]["median"] += 1
    (copied / "pipeline.json").write_text(json.dumps(answer))
    done = report("--check")
    assert done.returncode == 1
    assert f"{report.benchmarks} and {report.picture}: does not match the figures" in done.stderr


def test_a_page_without_marks_is_refused(results: Path, tmp_path: Path) -> None:
    report = Report(results, tmp_path)
    report.benchmarks.write_text("# Something else\n")
    done = report()
    assert done.returncode == 1
    assert "lacks the lines" in done.stderr
    assert report.benchmarks.read_text() == "# Something else\n"


def test_the_committed_pages_match_the_committed_results() -> None:
    done = command("report.py", "--check")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["speed"], "unknown question speed; choose from quality, edges, pipeline"),
        (["postprocess", "--quick"], "--quick needs --results FOLDER"),
    ],
)
def test_wrong_arguments_are_refused(arguments: list[str], message: str) -> None:
    done = command("run.py", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_run_without_photos_with_ground_truth_says_what_it_skips(tmp_path: Path) -> None:
    done = command("run.py", "edges", "quality", "--quick", "--results", tmp_path / "results")
    assert done.returncode == 0, done.stderr
    assert "quality: skipped: needs photos with ground truth" in done.stdout
    assert "edges: agreement is skipped: it needs photos with ground truth" in done.stdout
    assert [file.name for file in (tmp_path / "results").iterdir()] == ["edges.json"]


def test_a_question_that_needs_something_missing_is_skipped(tmp_path: Path) -> None:
    done = command("run.py", "playground", "--quick", "--results", tmp_path / "results", PATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "playground: skipped: needs chromium and chromedriver" in done.stdout
    assert list((tmp_path / "results").iterdir()) == []
