"""The hosted API beside a local server: the same calls to both, through the vendor's own client."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from automask import Parameters
from automask.errors import ImageError, MissingDependencyError
from automask.images import identify, read_image

from ..errors import UnavailableError

__all__ = ["PUBLISHED", "SLUG", "Caller", "Measured", "alternate", "iou", "montage", "unlike"]

SLUG: Final = "automatic-mask-generator"
PUBLISHED: Final = {"latency_s": 1.49, "cost_usd": 0.001}
"""What the vendor's page says of one call; nothing that was measured."""

_POLL_SECONDS = 0.05
_TYPES: Final = {"JPEG": "image/jpeg", "PNG": "image/png"}
_GAP, _CAPTION, _MAX_HEIGHT = 8, 24, 800


@dataclass
class Measured:
    """Seconds and costs of one way of calling one server, a number for each call.

    Attributes
    ----------
    latency
        From the call to its answer, seconds.
    server
        Of these, what the server says that it took itself.
    cost
        What the server says that it cost.
    """

    latency: list[float] = field(default_factory=list)
    server: list[float] = field(default_factory=list)
    cost: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Milliseconds as p50 and p95; None for what the server does not say at every call.

        The network's are what is left of the latency without the server's. Asynchronously that is the least it took:
        the server works while its acknowledgement and the next question are on their way.
        """
        complete = len(self.server) == len(self.latency)
        network = [whole - part for whole, part in zip(self.latency, self.server, strict=True)] if complete else []
        return {
            "latency_ms": _quantiles(self.latency),
            "server_ms": _quantiles(self.server) if complete else None,
            "network_ms": _quantiles(network) if complete else None,
            "cost_per_1000": 1000 * sum(self.cost) / len(self.cost) if len(self.cost) == len(self.latency) else None,
        }


def _quantiles(seconds: list[float]) -> dict[str, float]:
    p50, p95 = np.percentile(seconds, (50, 95))
    return {"p50": round(1e3 * p50, 2), "p95": round(1e3 * p95, 2)}


class Caller:
    """Calls one server as the vendor's client does, both ways.

    Parameters
    ----------
    name
        What to call it in messages.
    url
        Its base URL, which ends in ``/v1``.
    api_key
        Its key.

    Raises
    ------
    MissingDependencyError
        The vendor's client is not installed.
    """

    def __init__(self, name: str, url: str, api_key: str) -> None:
        try:
            from segmind import SegmindClient
        except ImportError as error:
            raise MissingDependencyError(
                "comparing with the hosted API needs its own client: pip install segmind"
            ) from error
        self.name, self.url = name, url
        self.sync, self.asynchronous = Measured(), Measured()
        self._client = SegmindClient(api_key, base_url=url)

    def ask(self, parameters: Mapping[str, Any]) -> bytes:
        """Ask once in one blocking call, and give the mask.

        Raises
        ------
        UnavailableError
            It does not answer, or with an error.
        """
        taken, response = self._time(lambda: self._client.run_sync(SLUG, **parameters))
        _note(self.sync, taken, response.headers.get("x-generation-time"), response.headers.get("x-cost"))
        return bytes(response.content)

    def submit_and_wait(self, parameters: Mapping[str, Any]) -> None:
        """Ask once by leaving a request and polling, until the URL of its mask is there.

        Raises
        ------
        UnavailableError
            It does not answer, or with an error.
        """
        taken, body = self._time(lambda: self._client.submit_async(SLUG, **parameters).wait(interval=_POLL_SECONDS))
        metrics = body.get("metrics") or {}
        _note(self.asynchronous, taken, metrics.get("total_time"), metrics.get("cost"))

    def _time(self, call: Callable[[], Any]) -> tuple[float, Any]:
        import httpx
        from segmind.exceptions import SegmindError

        start = perf_counter()
        try:
            answer = call()
        except SegmindError as error:
            raise UnavailableError(f"{self.name} ({self.url}) answers {error.status or ''}: {error.detail}") from error
        except httpx.HTTPError as error:
            raise UnavailableError(f"{self.name} ({self.url}) does not answer: {error}") from error
        return perf_counter() - start, answer

    def close(self) -> None:
        """Close its connections."""
        self._client._client.close()  # noqa: SLF001 (the vendor's client cannot be closed itself)

    def summary(self) -> dict[str, Any]:
        """Give all that was measured."""
        return {"url": self.url, "sync": self.sync.summary(), "async": self.asynchronous.summary()}


def _note(measured: Measured, taken: float, server: object, cost: object) -> None:
    measured.latency.append(taken)
    for numbers, said in ((measured.server, server), (measured.cost, cost)):
        try:
            numbers.append(float(str(said)))
        except ValueError:  # nothing, or nothing that is a number
            continue


def alternate(callers: tuple[Caller, ...], photo: bytes, prompt: str, rounds: int) -> Iterator[list[bytes]]:
    """Call each server both ways, one call at a time, round by round; give the masks of each round.

    Raises
    ------
    ImageError
        The photo is neither JPEG nor PNG.
    UnavailableError
        A server does not answer, or with an error.
    """
    fresh = unlike(photo)
    for _ in range(rounds):
        masks = []
        for way in ("sync", "async"):
            parameters = {"image": next(fresh), "prompt": prompt, **asdict(Parameters())}
            for caller in callers:
                if way == "sync":
                    masks.append(caller.ask(parameters))
                else:
                    caller.submit_and_wait(parameters)
        yield masks


def unlike(photo: bytes) -> Iterator[str]:
    """Give the same picture again and again as data URIs, never the same file: no cache shall have seen it.

    Raises
    ------
    ImageError
        It is neither JPEG nor PNG, behind whose end a few more bytes do no harm.
    """
    kind = identify(photo)
    if kind not in _TYPES:
        raise ImageError(f"the photo is {kind}; to compare, give {' or '.join(_TYPES)}")
    number = 0
    while True:
        data = base64.b64encode(photo + number.to_bytes(8, "big")).decode()
        yield f"data:{_TYPES[kind]};base64,{data}"
        number += 1


def iou(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Intersection over union of two masks; 1 where both are empty.

    Parameters
    ----------
    first, second
        (H, W, 3) as `read_image` gives masks; the second is brought to the size of the first.
    """
    height, width = first.shape[:2]
    scaled = Image.fromarray(second).resize((width, height), Image.Resampling.NEAREST)
    one, other = first[..., 0] >= 128, np.asarray(scaled)[..., 0] >= 128
    union = np.count_nonzero(one | other)
    return float(np.count_nonzero(one & other) / union) if union else 1.0


def montage(pictures: Mapping[str, bytes]) -> Image.Image:
    """Put pictures side by side, each under its name."""
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
