"""The same calls to a local server and to the hosted API, in turn, and the agreement of their masks."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from automask.errors import ImageError
from automask.images import identify, read_image
from automask.parameters import hosted_defaults

from .clients import TimedClient

__all__ = ["PUBLISHED", "alternate", "data_uris", "iou", "side_by_side"]

PUBLISHED: Final = {"latency_s": 1.49, "cost_usd": 0.001}
"""Latency and cost of one call as the vendor publishes them; not measured."""

_TYPES: Final = {"JPEG": "image/jpeg", "PNG": "image/png"}
_GAP, _CAPTION, _MAX_HEIGHT = 8, 24, 800  # pixels


def alternate(clients: tuple[TimedClient, ...], photo: bytes, prompt: str, rounds: int) -> Iterator[list[bytes]]:
    """Call each server synchronously and asynchronously, one call at a time; yield the masks of each round.

    Raises
    ------
    ImageError
        The photo is neither JPEG nor PNG.
    UnavailableError
        A server does not respond, or responds with an error.
    """
    uris = data_uris(photo)
    for _ in range(rounds):
        parameters = {"image": next(uris), "prompt": prompt, **hosted_defaults()}
        masks = [client.generate(parameters) for client in clients]
        parameters["image"] = next(uris)
        for client in clients:
            client.submit_and_poll(parameters)
        yield masks


def data_uris(photo: bytes) -> Iterator[str]:
    """Yield data URIs of the same picture, each of different bytes, so that no cache has seen it.

    Raises
    ------
    ImageError
        The photo is neither JPEG nor PNG, formats that allow extra bytes at the end.
    """
    kind = identify(photo)
    if kind not in _TYPES:
        raise ImageError(f"the photo must be {' or '.join(_TYPES)}, got {kind}")
    number = 0
    while True:
        data = base64.b64encode(photo + number.to_bytes(8, "big")).decode()
        yield f"data:{_TYPES[kind]};base64,{data}"
        number += 1


def iou(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Return the intersection over union of two masks; 1 if both are empty.

    Parameters
    ----------
    first, second
        Masks as `read_image` reads them, (H, W, 3) uint8. The second is resized to the first.
    """
    height, width = first.shape[:2]
    scaled = Image.fromarray(second).resize((width, height), Image.Resampling.NEAREST)
    one, other = first[..., 0] >= 128, np.asarray(scaled)[..., 0] >= 128
    union = np.count_nonzero(one | other)
    return float(np.count_nonzero(one & other) / union) if union else 1.0


def side_by_side(pictures: Mapping[str, bytes]) -> Image.Image:
    """Return pictures side by side, each below its name."""
    shown = {name: Image.fromarray(read_image(data)) for name, data in pictures.items()}
    width, height = next(iter(shown.values())).size
    scale = min(1.0, _MAX_HEIGHT / height)
    width, height = max(1, round(width * scale)), max(1, round(height * scale))
    sheet = Image.new("RGB", (len(shown) * (width + _GAP) + _GAP, height + _CAPTION + _GAP), "white")
    for number, (name, picture) in enumerate(shown.items()):
        left = _GAP + number * (width + _GAP)
        ImageDraw.Draw(sheet).text((left, _GAP // 2), name, fill="black")
        sheet.paste(picture.resize((width, height)), (left, _CAPTION))
    return sheet
