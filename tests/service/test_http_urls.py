"""Images by URL over HTTP: what is fetched, for which keys, and how often."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.duration_pb2 import Duration

from automask.service.http import server as http_server
from automask.service.http.fetch import Fetcher
from automask.service.keys.rate_limits import Rate
from automask.service.keys.sqlite import SqliteKeyStore
from automask.service.server import Server
from automask.v1 import mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceStub
from support.sites import Site, SiteResponse, http_response, site
from support.threaded_server import CALL_TIMEOUT, serving

V1, V2 = "/v1/automatic-mask-generator", "/v2/automatic-mask-generator"


@asynccontextmanager
async def between(
    folder: Path, response: SiteResponse, **settings: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, Site, Server]]:
    """A client of a server that fetches from a site on this machine."""
    async with site(response) as found:
        with serving(folder, http_port=0, **{"fetch_urls": "any", **settings}) as server:
            async with httpx.AsyncClient(base_url=f"http://{server.http_address}", timeout=60) as http:
                yield http, found, server


def test_a_fetched_image_is_masked_like_an_uploaded_one(tmp_path: Path, jpeg: bytes) -> None:
    async def run() -> None:
        async with between(tmp_path, http_response(jpeg)) as (http, found, server):
            body = {"prompt": "cup", "image": f"http://{found.address}/cup.jpg"}
            responses = [await http.post(V1, json=body), await http.post(V1, data=body)]
            sent = await http.post(V1, json={**body, "image": base64.b64encode(jpeg).decode()})
            assert [response.content for response in responses] == [sent.content] * 2
            reply = (await http.post(V2, json=body)).json()
            with grpc.insecure_channel(server.address) as channel:
                wanted = messages.GetResultRequest(request_id=reply["request_id"], wait=Duration(seconds=60))
                await asyncio.to_thread(MaskServiceStub(channel).GetResult, wanted)
            assert (await http.get(reply["status_url"])).json()["status"] == "COMPLETED"
            output = (await http.get(reply["response_url"])).json()["output"]
            assert (await http.get(output)).content == sent.content
            assert len(found.requests) == 3

    asyncio.run(run())


@pytest.mark.parametrize(
    ("settings", "response", "is_visited", "reason"),
    [
        ({"fetch_urls": "public"}, http_response(b""), False, "resolves to an address that is not public"),
        ({"fetch_urls": "off"}, http_response(b""), False, "this server does not fetch URLs"),
        ({}, http_response(b"", status="404 Not Found"), True, ": HTTP status 404"),
        ({}, http_response(b"<html>"), True, "the file is not a supported image"),
        ({"max_image_mb": 0.001}, http_response(bytes(2000)), True, "the image is larger than 0.001 MB"),
    ],
)
def test_a_failed_fetch_is_a_400_with_the_reason(
    tmp_path: Path, settings: dict[str, Any], response: bytes, *, is_visited: bool, reason: str
) -> None:
    async def run() -> None:
        async with between(tmp_path, response, **settings) as (http, found, _):
            for path in (V1, V2):
                refused = await http.post(path, json={"prompt": "cup", "image": f"http://{found.address}/"})
                assert (refused.status_code, refused.json()["reason"]) == (400, "INVALID_IMAGE")
                assert reason in refused.json()["error"]
            assert len(found.requests) == 2 * is_visited

    asyncio.run(run())


def test_nothing_is_fetched_without_a_key_a_token_or_credits(tmp_path: Path, jpeg: bytes) -> None:
    async def run(keys: SqliteKeyStore) -> None:
        async with between(tmp_path, http_response(jpeg), keys=tmp_path / "keys") as (http, found, _):
            body = {"prompt": "cup", "image": f"http://{found.address}/"}
            poor = {"x-api-key": keys.add("poor", credits=1), "idempotency-key": "once"}
            hasty = {"x-api-key": keys.add("hasty", rate=Rate(1, "h"))}
            first = await http.post(V2, json=body, headers=poor)
            assert (await http.post(V1, json=body, headers=hasty)).status_code == 200
            assert len(found.requests) == 2
            assert (await http.post(V1, json=body, headers={"x-api-key": poor["x-api-key"]})).status_code == 406
            assert (await http.post(V1, json=body, headers=hasty)).status_code == 429
            assert (await http.post(V1, json=body)).status_code == 401
            assert (await http.post(V1, json={**body, "threshold": 7}, headers=poor)).status_code == 400
            assert len(found.requests) == 2
            again = await http.post(V2, json=body, headers=poor)  # it is paid for already
            assert again.json()["request_id"] == first.json()["request_id"]

    with closing(SqliteKeyStore(tmp_path / "keys", create=True)) as keys:
        asyncio.run(run(keys))


def test_a_disconnect_cancels_the_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "Fetcher", partial(Fetcher, timeout=3600.0))  # which would end it, too

    async def run() -> None:
        requested, left = asyncio.Event(), asyncio.Event()

        async def dawdle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            requested.set()
            await reader.read()
            left.set()
            writer.close()

        async with (
            await asyncio.start_server(dawdle, "127.0.0.1", 0) as slow,
            between(tmp_path, b"", http_timeout="1h") as (http, _, _),
        ):
            url = "http://{}:{}/".format(*slow.sockets[0].getsockname())
            call = asyncio.create_task(http.post(V2, json={"prompt": "cup", "image": url}))
            await requested.wait()
            call.cancel()
            await asyncio.wait_for(left.wait(), CALL_TIMEOUT)

    asyncio.run(run())
