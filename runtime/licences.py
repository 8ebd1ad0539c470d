"""Licences with conditions: accepted once by a user, before a model is exported or pulled."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from .bundle import Terms
from .errors import AutomaskError
from .folders import data_folder
from .publish import write_json

__all__ = ["LicenceError", "accept"]

_FILE = "accepted_licences.json"


class LicenceError(AutomaskError, PermissionError):
    """The licence of the weights was not accepted."""


def accept(terms: Terms, *, accepted: bool = False) -> None:
    """Return if the user accepts a licence, now or before; on a terminal, ask.

    Parameters
    ----------
    terms
        The licence.
    accepted
        Whether the user accepts it on the command line.

    Raises
    ------
    LicenceError
        The licence is not accepted.
    """
    path = data_folder() / _FILE
    known = _read(path)
    if terms.name in known:
        return
    if not accepted and sys.stdin.isatty():
        conditions = "\n".join(f"  - {one}" for one in terms.conditions)
        click.echo(f"The weights are under the {terms.name}, {terms.url}\n{conditions}")
        accepted = click.confirm("Do you accept this licence?")
    if not accepted:
        raise LicenceError(
            f"the licence of the weights is not accepted ({terms}; {terms.url}); to accept it: --accept-licence"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {**known, terms.name: datetime.now(UTC).date().isoformat()}, indent=1)


def _read(path: Path) -> dict[str, str]:
    """Return the date by licence; of a damaged file nothing, so that each is asked for again."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
