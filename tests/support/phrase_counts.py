"""How many phrases of a table of `prompts.toml` are answered right, answered wrong, or refused.

Run as ``python -m support.phrase_counts fourth`` in the folder `tests`; with ``--list`` it also prints the wrong ones.
"""

from __future__ import annotations

import argparse
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import automask
from automask.errors import AutomaskError
from automask.words.vocabulary import Vocabulary

__all__ = ["PROMPTS", "answer", "judge"]

PROMPTS: Mapping[str, Mapping[str, Sequence[str]]] = tomllib.loads(
    (Path(__file__).parents[1] / "runtime" / "prompts.toml").read_text(encoding="utf-8")
)


def answer(vocabulary: Vocabulary, prompt: str) -> str:
    """Return what a prompt means, written as the keys of `prompts.toml` are."""
    try:
        return " + ".join(term.label for term in vocabulary.resolve(prompt))
    except AutomaskError:
        return "refuse"


def judge(vocabulary: Vocabulary, prompt: str, expected: str) -> str:
    """Return "right", "refused" or "wrong"."""
    met = answer(vocabulary, prompt)
    return "right" if met == expected else "refused" if met == "refuse" else "wrong"


def main() -> None:
    """Print the counts of one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", choices=PROMPTS)
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    vocabulary = Vocabulary.from_file(Path(automask.__file__).parent / "bundles/default/vocabulary.json")
    counts: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for expected, prompts in PROMPTS[arguments.table].items():
        for prompt in prompts:
            verdict = judge(vocabulary, prompt, expected)
            counts[expected != "refuse"][verdict] += 1
            if arguments.list and verdict != "right":
                print(f"{prompt!r}: {answer(vocabulary, prompt)}, should be {expected}")
    for should_map, found in counts.items():
        print("to be mapped:" if should_map else "to be refused:", dict(found))


if __name__ == "__main__":
    main()
