"""MODEL_CARD.md of a bundle with a fixed set of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..card import fill_card

__all__ = ["model_card"]

_ABOUT = """\
## Words

It knows {count} labels: {labels}.
{unplaced}
"""
_NOTICE = """\
`vocabulary.json` contains data from WordNet: WordNet 3.1 Copyright 2011 by Princeton University. All rights reserved.
THIS SOFTWARE AND DATABASE IS PROVIDED "AS IS" AND PRINCETON UNIVERSITY MAKES NO REPRESENTATIONS OR WARRANTIES, EXPRESS
OR IMPLIED. The whole notice stands in automask's NOTICE.
"""
_LIMITS = """\
It masks only what its labels name, and knows neither attributes nor positions. Labels of the training images have
errors and gaps: do not use it where a wrong mask can harm somebody.
"""
_PURPOSES = {"detector": "boxes and labels", "segmenter": "masks and labels"}


def model_card(manifest: Mapping[str, Any], labels: Sequence[str]) -> str:
    """Write the card from the manifest."""
    unplaced = manifest["text"]["unplaced"]
    about = _ABOUT.format(
        count=len(labels),
        labels=", ".join(labels),
        unplaced=f"No word means these: {', '.join(unplaced)}." if unplaced else "",
    )
    return fill_card(manifest, purposes=_PURPOSES, about=about, limits=_LIMITS, notice=_NOTICE)
