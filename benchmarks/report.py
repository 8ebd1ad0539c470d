"""Make the tables and pictures of docs/ from the figures that `run.py` wrote.

With `--check` nothing is written; the exit status is 1 if a page or a picture does not match the figures.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.drawing import Answers, Picture
from harness.machine import ROOT
from questions import QUESTIONS, capacity, cluster, gpu, pipeline, postprocess, scaling

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BEGIN, END = "<!-- Made by benchmarks/report.py: begin -->\n", "<!-- Made by benchmarks/report.py: end -->\n"
_WIDTH = 120  # characters of a line, as the linter of docs/ has it
COLLAPSED = {"scaling": "How the time grows, in figures", "postprocess": "Growing a mask, in figures"}


def draw_overview(sheet: Figure, *figures: dict[str, Any]) -> None:
    """Draw pipeline, postprocess and scaling on one sheet."""
    of_pipeline, of_postprocess, of_scaling = figures
    axes = sheet.subplots(2, 3).ravel()
    pipeline.draw(axes[0], of_pipeline)
    postprocess.draw(axes[1], of_postprocess)
    scaling.draw(axes[2:], of_scaling)
    sheet.legend(*axes[2].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)


OVERVIEW = "docs/figures.svg"
PICTURES: Mapping[str, Picture] = {
    OVERVIEW: Picture(("pipeline", "postprocess", "scaling"), (11, 6.4), draw_overview),
    "docs/capacity.svg": Picture(("capacity",), (11, 3.6), capacity.draw),
    "docs/cluster.svg": Picture(("cluster",), (11, 3.6), cluster.draw),
}


def read(results: Path) -> dict[str, dict[str, Any]]:
    """Read the figures of every question that has some, in the order of the questions."""
    files = {question: results / f"{question}.json" for question in QUESTIONS}
    answers = {question: json.loads(file.read_text()) for question, file in files.items() if file.exists()}
    for question, answer in answers.items():
        if answer.get("question") != question:
            raise SystemExit(
                f"{files[question]} was not written by run.py; measure again: python benchmarks/run.py {question}"
            )
    return answers


def section(page: str, answers: Answers) -> str:
    """Return the text between the two marks of a page."""
    shown = {question: answer for question, answer in answers.items() if QUESTIONS[question].page == page}
    blocks = [conditions(page, shown)]
    if page == "docs/benchmarks.md" and PICTURES[OVERVIEW].can_draw(answers):
        blocks.append(f"![Milliseconds by contender, and how they grow]({Path(OVERVIEW).name})\n")
    for name, question in QUESTIONS.items():
        if name in shown:
            blocks.append(collapse(name, question.markdown(shown[name]["figures"])))
        elif name == "gpu" and page == question.page:
            blocks.append(gpu.without_figures())
    return wrap("\n".join(blocks))


def wrap(text: str) -> str:
    """Return a text with its long lines wrapped; tables, HTML and pictures stay as they are."""
    wrapper = textwrap.TextWrapper(_WIDTH, break_long_words=False, break_on_hyphens=False)
    lines = []
    for line in text.splitlines():
        wrapper.subsequent_indent = "  " * line.startswith("- ")
        lines += [line] if len(line) <= _WIDTH or line.startswith(("|", "<", "!")) else wrapper.wrap(line)
    return "".join(f"{line}\n" for line in lines)


def collapse(question: str, text: str) -> str:
    """Return a long table as one that opens on a click, other text as it is."""
    if question not in COLLAPSED:
        return text
    return f"<details><summary>{COLLAPSED[question]}</summary>\n\n{text}\n</details>\n"


def conditions(page: str, answers: Answers) -> str:
    """List machine, versions and commit, with the questions that were measured on each."""
    groups: dict[str, list[str]] = {}
    for question, answer in answers.items():
        facts, versions = answer["machine"], answer["versions"]
        hardware = (
            f"{facts['processor']}, {facts['threads']} threads, {facts['memory_gb']} GB, {facts.get('gpu', 'no GPU')}"
        )
        installed = ", ".join(f"{name} {version}" for name, version in versions.items())
        quick = "; **from a quick run: they mean nothing**" if answer["quick"] else ""
        load = answer.get("load", 0.0)
        busy = f"; **measured beside other work, load {load:g}**" if load > facts["threads"] else ""
        groups.setdefault(f"{hardware}; {installed}; commit {answer['commit']}{busy}{quick}", []).append(question)
    up = "../" * page.count("/")
    lines = [
        f"{', '.join(f'[{name}]({up}benchmarks/results/{name}.json)' for name in names)}: {what}."
        for what, names in groups.items()
    ]
    return (
        "Medians (and quartiles). All contenders take turns in one run, with the same number of threads. A target "
        "stands in parentheses behind its figure.\n\n" + "".join(f"- {line}\n" for line in lines)
    )


def replace_section(text: str, new: str, page: str) -> str:
    """Return the text of a page with a new section between its marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page} lacks the lines {BEGIN.strip()!r} and {END.strip()!r}")
    return f"{before}{BEGIN}\n{new}\n{END}{after}"


def main() -> None:
    """Write the pages and pictures, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 on a difference")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the figures")
    parser.add_argument("--into", type=Path, default=ROOT, help="folder of docs/")
    arguments = parser.parse_args()
    answers, into = read(arguments.results), arguments.into
    pages = {into / page: page for page in dict.fromkeys(question.page for question in QUESTIONS.values())}
    new = {file: replace_section(file.read_text(), section(page, answers), str(file)) for file, page in pages.items()}
    drawable = {into / name: picture for name, picture in PICTURES.items() if picture.can_draw(answers)}
    if not arguments.check:
        for file, text in new.items():
            file.write_text(text)
        for file, picture in drawable.items():
            picture.draw(answers, file)
        return
    stale = [str(file) for file, text in new.items() if text != file.read_text()]
    stale += [str(file) for file, picture in drawable.items() if not picture.is_current(answers, file)]
    if stale:
        raise SystemExit(f"{' and '.join(stale)}: does not match the figures; run python benchmarks/report.py")


if __name__ == "__main__":
    main()
