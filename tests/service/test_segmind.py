"""The vendor's own client from PyPI against a real server; only its `base_url` differs."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import grpc
import httpx
import numpy as np
import pytest
import trustme
from numpy.typing import NDArray
from PIL import Image
from segmind import InferenceFailed, InferenceTimeout, SegmindClient, SegmindError

import automask
from automask.service.keys.rate_limits import Rate
from automask.service.keys.sqlite import SqliteKeyStore
from automask.service.server import Server
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceStub
from support.proxies import NGINX, nginx, small_proxy
from support.threaded_server import serving

SLUG = "automatic-mask-generator"
NOW = {"timeout": 60.0, "interval": 0.0}


@pytest.fixture(scope="module")
def image(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


class Connect(Protocol):
    def __call__(self, api_key: str, base_url: str) -> SegmindClient: ...


@pytest.fixture(scope="module")
def connect() -> Iterator[Connect]:
    """Creates clients, which have no method to close them."""
    with ExitStack() as stack:

        def make(api_key: str, base_url: str) -> SegmindClient:
            client = SegmindClient(api_key, base_url)
            stack.callback(client._client.close)
            return client

        yield make


@dataclass
class House:
    """A server with keys, and its clients."""

    server: Server
    keys: SqliteKeyStore
    connect: Connect

    def client(self, name: str, **rights: Any) -> SegmindClient:
        return self.client_of(self.keys.add(name, **rights))

    def client_of(self, key: str) -> SegmindClient:
        return self.connect(key, f"http://{self.server.http_address}/v1")


@pytest.fixture(scope="module")
def house(connect: Connect, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    with (
        closing(SqliteKeyStore(folder / "keys", create=True)) as keys,
        serving(folder, http_port=0, keys=folder / "keys", workers=1) as server,
    ):
        yield House(server, keys, connect)


def pixels(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture)


def refused(call: Callable[[], object]) -> tuple[int | None, str]:
    with pytest.raises(SegmindError) as caught:
        call()
    return caught.value.status, caught.value.detail or ""


def test_it_is_the_package_from_pypi() -> None:
    assert metadata.version("segmind") == "1.3.0"


def test_the_output_of_run_is_the_mask_of_the_library(
    house: House, image: str, coffee: NDArray[np.uint8], segmenter: automask.Segmenter
) -> None:
    client = house.client("runner", credits=5)
    result = client.run(SLUG, image=image, prompt="cup", threshold=0.3, grow_mask=4, seed=7)
    assert (result["status"], result["seed"], result["warnings"]) == ("COMPLETED", 7, [])
    measured = result["metrics"]
    assert measured.keys() == {
        "inference_time",
        "queue_time",
        "total_time",
        "cost",
        "remaining_credits",
        "retry_count",
    }
    assert (measured["cost"], measured["remaining_credits"], measured["retry_count"]) == (0, 4, 0)
    assert 0 < measured["inference_time"] <= measured["total_time"] < 60
    response = httpx.get(result["output"], timeout=60)
    assert response.headers["content-type"] == "image/png"
    photo = base64.b64decode(image.partition(",")[2])
    expected = segmenter.mask(photo, "cup", threshold=0.3, grow_mask=4).mask
    np.testing.assert_array_equal(pixels(response.content), expected)
    assert expected.shape == coffee.shape[:2]
    assert 0 < expected.mean() < 255


def test_run_sync_returns_the_picture(house: House, image: str) -> None:
    response = house.client("waiter", credits=3).run_sync(SLUG, image=image, prompt="cup", seed=7)
    assert response.headers["content-type"] == "image/png"
    assert pixels(response.content).shape == (400, 600)
    assert (response.headers["x-cost"], response.headers["x-remaining-credits"]) == ("0", "2")
    assert response.headers["x-seed-value"] == "7"
    assert float(response.headers["x-generation-time"]) > 0
    assert len(response.headers["x-request-id"]) == 32


def test_run_sync_returns_json_with_base64(house: House, image: str) -> None:
    client = house.client("encoder")
    reply = client.run_sync(SLUG, image=image, prompt="cup", base64=True).json()
    plain = client.run_sync(SLUG, image=image, prompt="cup")
    assert base64.b64decode(reply["image"]) == plain.content
    assert client.run_sync(f"models/{SLUG}", image=image, prompt="cup").content == plain.content


def test_submit_async_has_a_status_and_a_result(house: House, image: str) -> None:
    job = house.client("patient").submit_async(SLUG, image=image, prompt="cup", return_alpha=True)
    assert job.status()["status"] in {"QUEUED", "PROCESSING", "COMPLETED"}
    done = job.wait(**NOW)
    assert job.status() == {"request_id": job.request_id, "status": "COMPLETED"}
    assert job.result() == done
    assert job.submit_response["poll_url"] == job.status_url
    assert pixels(httpx.get(done["output"], timeout=60).content).shape == (400, 600, 4)


def test_a_failed_request_has_its_error(house: House) -> None:
    broken = base64.b64encode(b"\xff\xd8\xff but no JPEG").decode()
    job = house.client("unlucky", credits=1).submit_async(SLUG, image=broken, prompt="cup")
    with pytest.raises(InferenceFailed, match="JPEG") as caught:
        job.wait(**NOW)
    assert caught.value.status_body == {
        "request_id": job.request_id,
        "status": "FAILED",
        "error": caught.value.detail,
    }
    assert job.result()["error"] == caught.value.detail
    assert job.result()["metrics"]["remaining_credits"] == 1
    assert [
        httpx.get(url, headers=job._client._client.headers, timeout=60).status_code
        for url in (job.status_url, job.response_url)
    ] == [422, 422]


def test_an_empty_mask_fails_with_stop_on_empty_mask(house: House, image: str) -> None:
    client = house.client("strict")
    wanted = {"image": image, "prompt": "giraffe", "stop_on_empty_mask": True}
    with pytest.raises(InferenceFailed, match="giraffe"):
        client.submit_async(SLUG, **wanted).wait(**NOW)
    status, detail = refused(lambda: client.run_sync(SLUG, **wanted))
    assert status == 400
    assert "giraffe" in detail


def test_a_timeout_names_its_request(
    house: House, image: str, other_jpeg: bytes, segmenter: automask.Segmenter
) -> None:
    key = house.keys.add("slow")
    metadata = (("x-api-key", key),)
    photo = mask_pb2.Image(encoded=other_jpeg)
    endless = mask_pb2.MaskTask(
        image=photo, prompts=segmenter.vocabulary[:64], parameters=mask_pb2.MaskParameters(threshold=0)
    )
    with grpc.insecure_channel(house.server.address) as channel:
        stub = MaskServiceStub(channel)
        before = stub.Submit(messages.SubmitRequest(task=endless), metadata=metadata).status.request_id
        job = house.client_of(key).submit_async(SLUG, image=image, prompt="cup")
        with pytest.raises(InferenceTimeout, match="did not complete") as caught:
            job.wait(timeout=0, interval=0)
        assert caught.value.request_id == job.request_id
        assert job.result()["output"] is None
        stub.Cancel(messages.CancelRequest(request_id=before), metadata=metadata)
        assert job.wait(**NOW)["status"] == "COMPLETED"
        # The client does not know CANCELLED, which only gRPC has, and would wait forever.
        job.request_id, job.status_url = before, job.status_url.replace(job.request_id, before)
        with pytest.raises(InferenceFailed, match="cancelled"):
            job.wait(**NOW)


@pytest.mark.parametrize("way", ["run", "run_sync"])
def test_errors_have_their_status_and_message(house: House, image: str, way: str) -> None:
    def call(client: SegmindClient, slug: str = SLUG, **parameters: Any) -> tuple[int | None, str]:
        return refused(lambda: getattr(client, way)(slug, **{"image": image, "prompt": "cup", **parameters}))

    good = house.client(f"good-{way}")
    assert call(good, threshold=1.7) == (400, "threshold must be a number in [0, 1], got 1.7")
    assert call(house.client_of("wrong"))[0] == 401
    assert call(house.client_of(""))[0] == 401
    assert call(house.client(f"banned-{way}", models=["other"]))[0] == 403
    assert call(good, slug="sdxl") == (404, "no model 'sdxl'; this server has 'automatic-mask-generator'")
    assert call(house.client(f"poor-{way}", credits=0)) == (
        406,
        f"key 'poor-{way}' has 0 credits left, but this request costs 1",
    )
    hasty = house.client(f"hasty-{way}", rate=Rate(1, "h"))
    hasty.run_sync(SLUG, image=image, prompt="cup")
    status, detail = call(hasty)
    assert status == 429
    assert "(1/h); retry in 59m" in detail


def test_a_request_of_another_key_is_not_found(house: House, image: str) -> None:
    job = house.client("owner").submit_async(SLUG, image=image, prompt="cup")
    job._client = house.client("stranger")
    assert refused(job.status)[0] == 404
    assert refused(job.result)[0] == 404


def test_over_tls(tmp_path: Path, image: str, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "cert")
    authority.cert_pem.write_to_path(tmp_path / "ca")
    with serving(tmp_path, http_port=0, tls_cert=tmp_path / "cert", tls_key=tmp_path / "cert") as server:
        base_url = f"https://localhost:{server.http_address.rpartition(':')[2]}/v1"
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            connect("any", base_url).run(SLUG, image=image, prompt="cup")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca"))
        job = connect("any", base_url).submit_async(SLUG, image=image, prompt="cup")
        output = job.wait(**NOW)["output"]
        assert job.status_url.startswith("https://localhost:")
        assert pixels(httpx.get(output, timeout=60).content).shape == (400, 600)


@pytest.mark.parametrize("proxy", [small_proxy, nginx])
def test_behind_a_reverse_proxy_with_a_prefix(
    proxy: Callable[[str, str, Path], AbstractContextManager[str]], tmp_path: Path, image: str, connect: Connect
) -> None:
    if proxy is nginx and NGINX is None:
        pytest.skip("there is no nginx here")
    with (
        serving(tmp_path, http_port=0, trusted_proxies="127.0.0.1") as server,
        proxy(server.http_address, "/ai/masks", tmp_path) as url,
    ):
        client = connect("any", f"{url}/v1")
        job = client.submit_async(SLUG, image=image, prompt="cup")
        assert job.status_url == f"{url}/v2/requests/{job.request_id}/status"
        output = job.wait(**NOW)["output"]
        assert output == f"{url}/v2/requests/{job.request_id}/output.png"
        assert httpx.get(output, timeout=60).content == client.run_sync(SLUG, image=image, prompt="cup").content
        assert refused(lambda: client.run(SLUG, image="", prompt="cup"))[0] == 400


def test_the_example_script_prints_its_transcript(house: House, coffee_file: Path) -> None:
    sample = Path(__file__).parents[2] / "examples" / "segmind_sample.py"
    base_url = f"http://{house.server.http_address}/v1"
    done = subprocess.run(
        [sys.executable, "-W", "error", sample, base_url, coffee_file, "cup"],
        check=True,
        capture_output=True,
        text=True,
        env={"SEGMIND_API_KEY": house.keys.add("sampler", credits=9)},
    )
    for text in ("'status': 'COMPLETED'", "image/png, ", "InferenceFailed", "status=400", "status=404"):
        assert text in done.stdout
