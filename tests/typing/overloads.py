"""Types of the public overloads, checked by mypy (`make check`); this file is never run."""

from collections.abc import AsyncIterator, Iterator
from typing import assert_type

import automask
from automask import AutomaskError, Result
from automask.service import AsyncClient, AsyncJob, Client, Job


def of_the_library(segmenter: automask.Segmenter, frames: list[str], *, flag: bool) -> None:
    assert_type(automask.load(), automask.Segmenter)
    assert_type(segmenter.mask("room.jpg", "sofa"), Result)
    assert_type(segmenter.mask("room.jpg", ["sofa", "lamp"]), list[Result])
    assert_type(segmenter.mask("room.jpg", ("sofa",), exclude="cat", threshold=0.5), list[Result])
    assert_type(segmenter.mask("room.jpg", box=(10, 20, 30, 40)), Result)
    assert_type(segmenter.mask("room.jpg", None, points=[(10, 20, 1)]), Result)
    assert_type(segmenter.mask("room.jpg", "sofa", points=[(10.5, 20, 0)], keep=[0, 2], drop=(1,)), Result)
    assert_type(segmenter.mask_many(frames, box=[10, 20, 30, 40]), Iterator[Result])
    assert_type(segmenter.mask("room.jpg", ["sofa"], return_errors=True), list[Result | AutomaskError])
    assert_type(segmenter.mask_many(frames, "sofa"), Iterator[Result])
    assert_type(segmenter.mask_many(frames, "sofa", return_errors=False), Iterator[Result])
    assert_type(segmenter.mask_many(frames, "sofa", return_errors=True), Iterator[Result | AutomaskError])
    assert_type(segmenter.mask_many(frames, "sofa", return_errors=flag), Iterator[Result | AutomaskError])


def of_the_client(client: Client, frames: list[str]) -> None:
    assert_type(client.mask("room.jpg", "sofa", model="default"), Result)
    assert_type(client.mask("room.jpg", ["sofa", "lamp"]), list[Result])
    assert_type(client.mask("room.jpg", box=(10, 20, 30, 40)), Result)
    assert_type(client.submit("room.jpg", "sofa", drop=[1]), Job[Result])
    assert_type(client.submit("room.jpg", points=[(10, 20, 1)]), Job[Result])
    assert_type(client.mask("room.jpg", ["sofa"], return_errors=True), list[Result | AutomaskError])
    assert_type(client.mask_many(frames, "sofa"), Iterator[Result])
    assert_type(client.mask_many(frames, "sofa", return_errors=True), Iterator[Result | AutomaskError])
    assert_type(client.submit("room.jpg", "sofa"), Job[Result])
    assert_type(client.submit("room.jpg", "sofa", deadline=60.0).result(), Result)
    assert_type(client.submit("room.jpg", ["sofa", "lamp"]).result(timeout=5), list[Result])
    assert_type(client.submit("room.jpg", ["sofa"], return_errors=True), Job[list[Result | AutomaskError]])
    assert_type(client.job("id").result(), Result | list[Result])
    assert_type(client.job("id", return_errors=True).result(), list[Result | AutomaskError])


async def of_the_async_client(client: AsyncClient, frames: list[str], camera: AsyncIterator[bytes]) -> None:
    assert_type(await client.mask("room.jpg", "sofa"), Result)
    assert_type(await client.mask("room.jpg", ["sofa", "lamp"]), list[Result])
    assert_type(await client.mask("room.jpg", points=[(10, 20, 1)]), Result)
    assert_type(await client.mask("room.jpg", ["sofa"], return_errors=True), list[Result | AutomaskError])
    assert_type(client.mask_many(frames, "sofa"), AsyncIterator[Result])
    assert_type(client.mask_many(camera, "sofa", return_errors=True), AsyncIterator[Result | AutomaskError])
    assert_type(await client.submit("room.jpg", "sofa"), AsyncJob[Result])
    assert_type(await (await client.submit("room.jpg", ["sofa", "lamp"])).result(), list[Result])
    assert_type(await client.submit("room.jpg", ["a"], return_errors=True), AsyncJob[list[Result | AutomaskError]])
    assert_type(await client.job("id").result(), Result | list[Result])
    assert_type(await client.job("id", return_errors=True).result(), list[Result | AutomaskError])


def misspelt_parameters_are_errors(segmenter: automask.Segmenter, client: Client) -> None:
    """Mypy fails if one of these needs no `ignore` any more."""
    segmenter.mask("room.jpg", "sofa", treshold=0.5)  # type: ignore[call-overload]
    client.mask("room.jpg", "sofa", treshold=0.5)  # type: ignore[call-overload]
    segmenter.mask("room.jpg", points=[(10, 20)])  # type: ignore[list-item]
