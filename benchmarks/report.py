"""Make the pages' figures and the pictures from what `run.py` wrote.

`--check` writes nothing, and fails where a page or a picture is not what the figures give.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.machine import ROOT
from harness.picture import PICTURES
from questions import QUESTIONS, gpu

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


def section(page: str, answers: Answers) -> str:
    """Write what stands between the two marks of a page."""
    shown = {question: answer for question, answer in answers.items() if QUESTIONS[question].page == page}
    blocks = [measured_on(page, shown)]
    if page == "README.md" and PICTURES["docs/figures.svg"].can_draw(answers):
        blocks.append("![Milliseconds by contender, and how they grow](docs/figures.svg)\n")
    for question, asked in QUESTIONS.items():
        if question in shown:
            blocks.append(folded(question, asked.markdown(shown[question]["figures"])))
        elif question == "gpu" and page == asked.page:
            blocks.append(gpu.without_figures())
    return "\n".join(blocks)


def folded(question: str, text: str) -> str:
    """Let a long table open on a click."""
    if question not in FOLDED:
        return text
    return f"<details><summary>{FOLDED[question]}</summary>\n\n{text}\n</details>\n"


def measured_on(page: str, answers: Answers) -> str:
    """Say what was measured on what, in as few lines as that takes."""
    groups: dict[str, list[str]] = {}
    for question, answer in answers.items():
        facts, versions = answer["machine"], answer["versions"]
        hardware = (
            f"{facts['processor']}, {facts['threads']} threads, {facts['memory_gb']} GB, {facts.get('gpu', 'no GPU')}"
        )
        installed = ", ".join(f"{name} {version}" for name, version in versions.items())
        quick = "; **from a quick run: they mean nothing**" if answer["quick"] else ""
        load = answer.get("load", 0.0)
        busy = f"; **other work kept it busy, load {load:g}**" if load > facts["threads"] else ""
        groups.setdefault(f"{hardware}; {installed}; commit {answer['commit']}{busy}{quick}", []).append(question)
    up = "../" * page.count("/")
    lines = [
        f"{', '.join(f'[{name}]({up}benchmarks/results/{name}.json)' for name in names)}: {what}."
        for what, names in groups.items()
    ]
    return (
        "Medians (and quartiles), all contenders by turns in one run on the same threads; beside a ratio or a time "
        "stands what was aimed at.\n" + "".join(f"- {line}\n" for line in lines)
    )


def replaced(text: str, new: str, page: str) -> str:
    """Put the section between its marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page} lacks the lines {BEGIN.strip()!r} and {END.strip()!r}")
    return f"{before}{BEGIN}\n{new}\n{END}{after}"


def main() -> None:
    """Write, or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare only")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the figures")
    parser.add_argument("--into", type=Path, default=ROOT, help="folder of the README and docs/")
    arguments = parser.parse_args()
    answers, into = read(arguments.results), arguments.into
    pages = {into / page: page for page in dict.fromkeys(asked.page for asked in QUESTIONS.values())}
    new = {file: replaced(file.read_text(), section(page, answers), str(file)) for file, page in pages.items()}
    drawable = {into / name: picture for name, picture in PICTURES.items() if picture.can_draw(answers)}
    if not arguments.check:
        for file, text in new.items():
            file.write_text(text)
        for file, picture in drawable.items():
            picture.draw(answers, file)
        return
    stale = [str(file) for file, text in new.items() if text != file.read_text()]
    stale += [str(file) for file, picture in drawable.items() if not picture.is_of(answers, file)]
    if stale:
        raise SystemExit(f"{' and '.join(stale)}: not what the figures give; run python benchmarks/report.py")


if __name__ == "__main__":
    main()
