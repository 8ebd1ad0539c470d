"""Ready-made models by short name; the table of `automask pull --list`."""

from __future__ import annotations

from dataclasses import dataclass

from .repository import Repository

__all__ = ["ENTRIES", "Entry", "known_licence", "list_entries"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A ready-made model.

    Attributes
    ----------
    name, hub_id
        Short name, and id on the Hub.
    licence
        Of the weights, as their own model card states it: cards of converted weights often state none.
    megabytes
        To download, in int8, about.
    good_at
        A few words.
    """

    name: str
    hub_id: str
    licence: str
    megabytes: int
    good_at: str


ENTRIES = (
    Entry(
        name="clipseg",
        hub_id="Xenova/clipseg-rd64-refined",
        licence="apache-2.0 by the card of CIDAS/clipseg-rd64-refined; its authors exempt the weights from their own",
        megabytes=138,
        good_at="any words; coarse masks; each new word costs as much as a new photo",
    ),
    Entry(
        name="owlvit",
        hub_id="Xenova/owlvit-base-patch32",
        licence="apache-2.0 by the card of google/owlvit-base-patch32",
        megabytes=155,
        good_at="any words, objects with sharp masks; new words cost as much as a new photo",
    ),
    Entry(
        name="grounding-dino-tiny",
        hub_id="onnx-community/grounding-dino-tiny-ONNX",
        licence="apache-2.0 by the card of IDEA-Research/grounding-dino-tiny",
        megabytes=180,
        good_at="phrases with attributes and relations; slow: each phrase costs as much as a new photo",
    ),
)


def known_licence(repository: Repository) -> str:
    """Return the licence that the repository's card states, else the one in the table, else ``unknown``."""
    known = {entry.hub_id: entry.licence for entry in ENTRIES}
    stated = repository.licence
    return known.get(repository.hub_id, stated) if stated == "unknown" else stated


def list_entries() -> str:
    """Return the table."""
    return "\n".join(map(_row, ENTRIES))


def _row(entry: Entry) -> str:
    return (
        f"  {entry.name:16} {entry.good_at}\n"
        f"  {'':16} {entry.hub_id}, about {entry.megabytes} MB in int8, {entry.licence}"
    )
