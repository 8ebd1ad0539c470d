"""MODEL_CARD.md: what the cards of all exported checkpoints share, filled in from the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["fill_card"]

_TEXT = """\
# {name}

{description} Written by `automask export` from {origin}.

| graph | purpose | files |
|---|---|---|
{graphs}

{about}

## Licence

{licence}

## Parity with the checkpoint, measured at export

{basis}

| figure | value | limit |
|---|---|---|
{figures}

## Limits

{limits}
"""


def fill_card(
    manifest: Mapping[str, Any], *, purposes: Mapping[str, str], about: str, limits: str, notice: str = ""
) -> str:
    """Return the text of a card.

    Parameters
    ----------
    manifest
        Content of `automask.json`.
    purposes
        What each graph does, by role.
    about
        How image and prompt are read.
    limits
        What the model cannot do, and its papers.
    notice
        Text that follows the licence.
    """
    parity = manifest["parity"]
    return _TEXT.format(
        name=manifest["name"],
        description=manifest["description"],
        origin=", ".join(f"`{s['file']}` of {s['package']} ({s['version']})" for s in manifest["sources"]),
        graphs="\n".join(
            f"| {role} | {purposes[role]} | {', '.join(f'`{file}`' for file in graph['variants'].values())} |"
            for role, graph in manifest["graphs"].items()
        ),
        about=about.strip(),
        licence=f"{manifest['licence']}\n\n{notice.strip()}".strip(),
        basis="\n".join(f"- {precision}: {criterion}" for precision, criterion in parity["judged_by"].items()),
        figures="\n".join(
            f"| {name} | {value:g} | {parity['limits'].get(name, 'none')} |"
            for name, value in parity["figures"].items()
        ),
        limits=limits.strip(),
    )
