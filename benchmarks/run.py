"""Run the questions of the benchmarks, one after the other, and write their figures to a folder.

Without a name all questions run. Each has its own module in `questions/`, which describes what it compares. `report.py`
makes the tables and pictures of docs/ from the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from harness import machine
from harness.options import MissingRequirementError, RunOptions
from questions import QUESTIONS

RESULTS = Path(__file__).parent / "results"


def answer(question: str, options: RunOptions) -> dict[str, Any]:
    """Measure, and return the figures with the date, the commit, the machine and the versions."""
    date, started, commit, load = datetime.now(UTC), perf_counter(), machine.commit(), os.getloadavg()[0]
    figures = QUESTIONS[question].measure(options)
    return {
        "question": question,
        "date": f"{date:%Y-%m-%d}",
        "commit": commit,
        "machine": machine.hardware(),
        "versions": machine.versions(),
        "load": round(load, 1),
        "quick": options.quick,
        "seconds": round(perf_counter() - started, 1),
        "figures": figures,
    }


def run(questions: Sequence[str], options: RunOptions, results: Path) -> None:
    """Run the questions in order. The figures of each are written as soon as it has ended."""
    results.mkdir(parents=True, exist_ok=True)
    for question in questions:
        print(f"{question} …", file=sys.stderr, flush=True)
        try:
            answered = answer(question, options)
        except MissingRequirementError as reason:
            print(f"{question}: skipped: {reason}", flush=True)
            continue
        (results / f"{question}.json").write_text(json.dumps(answered, indent=1) + "\n")
        print(QUESTIONS[question].markdown(answered["figures"]), flush=True)
        print(f"{question}: {answered['seconds']:.0f} s", file=sys.stderr, flush=True)


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "questions", nargs="*", metavar="question", help=f"one of {', '.join(QUESTIONS)} (default: all)"
    )
    parser.add_argument("--quick", action="store_true", help="only check that it works; the figures mean nothing")
    parser.add_argument("--results", type=Path, help="folder for the figures (default: benchmarks/results)")
    parser.add_argument(
        "--data", type=Path, help="photos with ground truth for `quality` and `edges`; see questions/quality.py"
    )
    parser.add_argument(
        "--models",
        type=Path,
        help="folder that keeps the exported models of `open_vocabulary`, 4 GB; without them, a run takes some ten "
        "minutes more; also that of `concept` (default: benchmarks/ in automask's cache folder)",
    )
    parser.add_argument("--device", default="cpu", help="where `concept` runs (default: cpu)")
    arguments = parser.parse_args()
    unknown = [question for question in arguments.questions if question not in QUESTIONS]
    if unknown:
        parser.error(f"unknown question {', '.join(unknown)}; choose from {', '.join(QUESTIONS)}")
    if arguments.quick and not arguments.results:
        parser.error("--quick needs --results FOLDER: its figures must not replace those in benchmarks/results")
    print(f"{machine.summary()}; commit {machine.commit()}\n")
    with tempfile.TemporaryDirectory() as folder:
        options = RunOptions(arguments.quick, Path(folder), arguments.data, device=arguments.device)
        if arguments.models:
            options = replace(options, models=arguments.models.resolve())
        run(arguments.questions or list(QUESTIONS), options, arguments.results or RESULTS)


if __name__ == "__main__":
    main()
