"""The labels of a checkpoint, from its configuration."""

from __future__ import annotations

import re

from ..checkpoint import Checkpoint, CheckpointError

__all__ = ["read_labels"]

_UNNAMED = re.compile(r"LABEL_\d+")
_NEEDED = (
    "prompts need the names of the classes; add them to a local copy of the checkpoint, as "
    '"id2label": {"0": "person", …}, and export that folder'
)


def read_labels(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Return ``id2label`` of `config.json`, in the order of its numbers.

    Raises
    ------
    CheckpointError
        There is none, it has gaps, or its labels are only transformers' placeholders.
    """
    found = checkpoint.config.get("id2label")
    if not isinstance(found, dict) or not found:
        raise CheckpointError(f"config.json of {checkpoint.name} has no id2label: {_NEEDED}")
    try:
        labels = {int(number): str(label).strip() for number, label in found.items()}
    except ValueError as error:
        raise CheckpointError(f"id2label of {checkpoint.name} must have numbers as keys: {error}") from error
    if sorted(labels) != list(range(len(labels))):
        raise CheckpointError(
            f"id2label of {checkpoint.name} must number its {len(labels)} labels from 0 without a gap"
        )
    if unnamed := [label for label in labels.values() if not label or _UNNAMED.fullmatch(label)]:
        raise CheckpointError(f"id2label of {checkpoint.name} does not name its classes ({unnamed[0]!r}, …): {_NEEDED}")
    return tuple(labels[number] for number in range(len(labels)))
