"""Make the README's figures and the picture from what `run.py` wrote.

`--check` writes nothing, and fails where README or picture are not what the figures give.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gpu
import picture
from machine import ROOT
from questions import QUESTIONS

BEGIN, END = "<!-- Made by benchmarks/report.py: begin -->\n", "<!-- Made by benchmarks/report.py: end -->\n"
FOLDED = {"scaling": "How the cost grows, in figures", "postprocess": "Growing a mask, in figures"}

Answers = Mapping[str, dict[str, Any]]


def read(results: Path) -> dict[str, dict[str, Any]]:
    """Read the figures of every question that has some, in the order of the questions."""
    files = {question: results / f"{question}.json" for question in QUESTIONS}
    answers = {question: json.loads(file.read_text()) for question, file in files.items() if file.exists()}
    for question, answer in answers.items():
        if answer.get("question") != question:
            raise SystemExit(
                f"{files[question]} was not written by run.py; measure anew: python benchmarks/run.py {question}"
            )
    return answers


def section(answers: Answers) -> str:
    """Write what stands between the two marks."""
    blocks = [measured_on(answers)]
    if picture.can_draw(answers):
        blocks.append("![Milliseconds by contender, and how they grow](docs/figures.svg)\n")
    for question in QUESTIONS:
        if question in answers:
            blocks.append(folded(question, QUESTIONS[question].markdown(answers[question]["figures"])))
        elif question == "gpu":
            blocks.append(gpu.without_figures())
    return "\n".join(blocks)


def folded(question: str, text: str) -> str:
    """Let a long table open on a click."""
    if question not in FOLDED:
        return text
    return f"<details><summary>{FOLDED[question]}</summary>\n\n{text}\n</details>\n"


def measured_on(answers: Answers) -> str:
    """Say what was measured on what, in as few lines as that takes."""
    groups: dict[str, list[str]] = {}
    for question, answer in answers.items():
        facts, versions = answer["machine"], answer["versions"]
        hardware = (
            f"{facts['processor']}, {facts['threads']} threads, {facts['memory_gb']} GB, {facts.get('gpu', 'no GPU')}"
        )
        installed = ", ".join(f"{name} {version}" for name, version in versions.items())
        quick = "; **from a quick run: they mean nothing**" if answer["quick"] else ""
        groups.setdefault(f"{hardware}; {installed}; commit {answer['commit']}{quick}", []).append(question)
    lines = [
        f"{', '.join(f'[{name}](benchmarks/results/{name}.json)' for name in names)}: {what}."
        for what, names in groups.items()
    ]
    return (
        "Medians (and quartiles), all contenders by turns in one run on the same threads; beside a ratio or a time "
        "stands what was aimed at.\n" + "".join(f"- {line}\n" for line in lines)
    )


def replaced(readme: str, new: str) -> str:
    """Put the section between its marks."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"README.md lacks the lines {BEGIN.strip()!r} and {END.strip()!r}")
    return f"{before}{BEGIN}\n{new}\n{END}{after}"


def main() -> None:
    """Write, or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare only")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the figures")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md", help="file to write into")
    parser.add_argument("--picture", type=Path, default=ROOT / "docs" / "figures.svg", help="picture to draw")
    arguments = parser.parse_args()
    answers = read(arguments.results)
    readme = arguments.readme.read_text()
    new = replaced(readme, section(answers))
    drawable = picture.can_draw(answers)
    if not arguments.check:
        arguments.readme.write_text(new)
        if drawable:
            picture.draw(answers, arguments.picture)
        return
    stale = [str(arguments.readme)] if new != readme else []
    if drawable and not picture.is_of(answers, arguments.picture):
        stale.append(str(arguments.picture))
    if stale:
        raise SystemExit(f"{' and '.join(stale)} are not what the figures give: run python benchmarks/report.py")


if __name__ == "__main__":
    main()
