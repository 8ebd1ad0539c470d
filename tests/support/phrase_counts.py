"""How many phrases of a table of `prompts.toml` are answered right, answered wrong, or refused.

Run as ``python -m support.phrase_counts fourth`` in the folder `tests`; with ``--list`` it also prints the wrong ones.
"""

from __future__ import annotations

import argparse
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import automask
from automask.errors import AutomaskError
from automask.words.vocabulary import Vocabulary

__all__ = ["PROMPTS", "answer", "judge", "meaning_of"]

PROMPTS: Mapping[str, Mapping[str, Sequence[str]]] = tomllib.loads(
    (Path(__file__).parents[1] / "runtime" / "prompts.toml").read_text(encoding="utf-8")
)


def answer(vocabulary: Vocabulary, prompt: str) -> str:
    """Return what a prompt means, written as the keys of `prompts.toml` are, with the members of unions."""
    try:
        meaning = vocabulary.resolve(prompt)
    except AutomaskError:
        return "refuse"
    wanted = _joined(term.label for term in meaning.wanted)
    rules = "not " * meaning.invert + f"{meaning.pick} of " * bool(meaning.pick)
    return rules + wanted + (f" - {_joined(term.label for term in meaning.excluded)}" if meaning.excluded else "")


def meaning_of(vocabulary: Vocabulary, key: str) -> str:
    """Return a key of `prompts.toml` in the form of `answer`."""
    if key == "refuse" or not {"{", "-"} & set(key):
        return key
    name, _, gone = key.partition(" - ")
    union = next((union for union in vocabulary.unions if name == f"{{{union.name}}}"), None)
    if union is None:
        return key
    wanted = _joined(vocabulary.labels[index] for index in union.members if vocabulary.labels[index] != gone)
    rules = "not " * union.invert + f"{union.pick} of " * bool(union.pick)
    return rules + wanted + (f" - {gone}" if gone else "")


def _joined(labels: Iterable[str]) -> str:
    return " + ".join(labels)


def judge(vocabulary: Vocabulary, prompt: str, key: str) -> str:
    """Return "right", "refused" or "wrong"."""
    met, expected = answer(vocabulary, prompt), meaning_of(vocabulary, key)
    if sorted(met.split(" + ")) == sorted(expected.split(" + ")):
        return "right"
    return "refused" if met == "refuse" else "wrong"


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
