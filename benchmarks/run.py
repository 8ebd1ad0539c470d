"""Measure everything side by side, one question after the other, and write the figures to a folder.

Without a question all are asked, in the order of their list. Each has a file of its own here, which says what is
compared with what. `report.py` makes the README's tables and the picture from the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from harness import machine
from harness.workplace import NotHereError, Workplace
from questions import QUESTIONS

RESULTS = Path(__file__).parent / "results"


def ask(question: str, workplace: Workplace) -> dict[str, Any]:
    """Measure, and say on what and when."""
    started, begun, commit, load = datetime.now(UTC), perf_counter(), machine.commit(), os.getloadavg()[0]
    figures = QUESTIONS[question].measure(workplace)
    return {
        "question": question,
        "date": f"{started:%Y-%m-%d}",
        "commit": commit,
        "machine": machine.hardware(),
        "versions": machine.versions(),
        "load": round(load, 1),
        "quick": workplace.quick,
        "seconds": round(perf_counter() - begun, 1),
        "figures": figures,
    }


def run(questions: Sequence[str], workplace: Workplace, results: Path) -> None:
    """Ask one question after the other; the figures of each are kept as soon as they are there."""
    results.mkdir(parents=True, exist_ok=True)
    for question in questions:
        print(f"{question} …", file=sys.stderr, flush=True)
        try:
            answer = ask(question, workplace)
        except NotHereError as reason:
            print(f"{question}: skipped: {reason}", flush=True)
            continue
        (results / f"{question}.json").write_text(json.dumps(answer, indent=1) + "\n")
        print(QUESTIONS[question].markdown(answer["figures"]), flush=True)
        print(f"{question}: {answer['seconds']:.0f} s", file=sys.stderr, flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", nargs="*", metavar="question", help=f"of: {', '.join(QUESTIONS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="only show that it works; the figures mean nothing")
    parser.add_argument("--results", type=Path, help="folder for the figures (default: benchmarks/results)")
    parser.add_argument("--data", type=Path, help="photos with ground truth for `quality`; see quality.py --help")
    arguments = parser.parse_args()
    unknown = [question for question in arguments.questions if question not in QUESTIONS]
    if unknown:
        parser.error(f"there is no question {', '.join(unknown)}; choose of {', '.join(QUESTIONS)}")
    if arguments.quick and not arguments.results:
        parser.error("--quick measures nothing that may stand in benchmarks/results; give --results FOLDER")
    print(f"{machine.line()}; commit {machine.commit()}\n")
    with tempfile.TemporaryDirectory() as folder:
        workplace = Workplace(arguments.quick, Path(folder), arguments.data)
        run(arguments.questions or list(QUESTIONS), workplace, arguments.results or RESULTS)


if __name__ == "__main__":
    main()
