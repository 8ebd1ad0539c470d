"""MODEL_CARD.md of a bundle with a fixed set of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["model_card"]

_TEXT = """\
# {name}

{description} Written by `automask export` from {origin}.

| graph | files |
|---|---|
{graphs}

## Words

It knows {count} labels: {labels}.
{unplaced}
## Licence

{licence}

`vocabulary.json` contains data from WordNet: WordNet 3.1 Copyright 2011 by Princeton University. All rights reserved.
THIS SOFTWARE AND DATABASE IS PROVIDED "AS IS" AND PRINCETON UNIVERSITY MAKES NO REPRESENTATIONS OR WARRANTIES, EXPRESS
OR IMPLIED. The whole notice stands in automask's NOTICE.

## Parity with the checkpoint, measured at export

{basis}

| figure | value | limit |
|---|---|---|
{figures}

## Limits

It masks only what its labels name, and knows neither attributes nor positions. Labels of the training images have
errors and gaps: do not use it where a wrong mask can harm somebody.
"""


def model_card(manifest: Mapping[str, Any], labels: Sequence[str]) -> str:
    """Write the card from the manifest."""
    parity, unplaced = manifest["parity"], manifest["text"]["unplaced"]
    return _TEXT.format(
        name=manifest["name"],
        description=manifest["description"],
        origin=", ".join(f"`{s['file']}` of {s['package']} ({s['version']})" for s in manifest["sources"]),
        graphs="\n".join(
            f"| {role} | {', '.join(f'`{file}`' for file in graph['variants'].values())} |"
            for role, graph in manifest["graphs"].items()
        ),
        count=len(labels),
        labels=", ".join(labels),
        unplaced=f"No word means these: {', '.join(unplaced)}.\n" if unplaced else "",
        licence=manifest["licence"],
        basis="\n".join(f"- {precision}: {criterion}" for precision, criterion in parity["judged_by"].items()),
        figures="\n".join(
            f"| {name} | {value:g} | {parity['limits'].get(name, 'none')} |"
            for name, value in parity["figures"].items()
        ),
    )
