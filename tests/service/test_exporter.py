"""The port for Prometheus: TLS, keys, slow clients."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest
import trustme

from automask.service.keys.sqlite import SqliteKeyStore
from automask.service.server import Server
from support.threaded_server import serving

METRIC = "automask_queue_depth"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def tls(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pem")
    certificate = authority.issue_cert("127.0.0.1")
    paths = {"tls_cert": folder / "cert.pem", "tls_key": folder / "key.pem"}
    certificate.cert_chain_pems[0].write_to_path(paths["tls_cert"])
    certificate.private_key_pem.write_to_path(paths["tls_key"])
    return paths


def trusting(authority: trustme.CA, client: trustme.CA | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if client is not None:
        client.issue_cert("prometheus.example").configure_cert(context)
    return context


def scrape(server: Server, context: ssl.SSLContext | None = None, **headers: str) -> httpx.Response:
    scheme = "http" if context is None else "https"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with httpx.Client(verify=context or False, timeout=60) as client:
        return client.get(f"{scheme}://{server.metrics_address}/metrics", headers=named)


def test_metrics_have_the_certificate_of_the_server(
    tmp_path: Path, authority: trustme.CA, tls: dict[str, Path]
) -> None:
    with serving(tmp_path, metrics_port=0, **tls) as server:
        host, _, port = server.metrics_address.rpartition(":")
        with socket.create_connection((host, int(port))):  # a client that never encrypts delays nobody
            assert METRIC in scrape(server, trusting(authority)).text
            with pytest.raises(httpx.ConnectError):
                scrape(server, trusting(trustme.CA()))
            with pytest.raises(httpx.TransportError):
                scrape(server)


def test_metrics_require_a_client_certificate_as_calls_do(
    tmp_path: Path, authority: trustme.CA, tls: dict[str, Path]
) -> None:
    client = trustme.CA()
    client.cert_pem.write_to_path(tmp_path / "ca.pem")
    with serving(tmp_path, metrics_port=0, client_ca=tmp_path / "ca.pem", **tls) as server:
        assert METRIC in scrape(server, trusting(authority, client)).text
        for context in (trusting(authority), trusting(authority, trustme.CA())):
            with pytest.raises(httpx.TransportError):
                scrape(server, context)


def test_metrics_require_a_key_if_set(tmp_path: Path) -> None:
    with closing(SqliteKeyStore(tmp_path / "keys", create=True)) as keys:
        key = keys.add("prometheus", credits=0)
        with serving(tmp_path, metrics_port=0, metrics_auth=True, keys=tmp_path / "keys") as server:
            sends: tuple[Callable[[str], httpx.Response], ...] = (
                lambda text: scrape(server, authorization=f"Bearer {text}"),
                lambda text: scrape(server, x_api_key=text),
            )
            for send in sends:
                assert METRIC in send(key).text
                assert (send("wrong").status_code, METRIC in send("wrong").text) == (401, False)
            refused = scrape(server)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert refused.text == "this server requires an API key: send it as x-api-key\n"
            keys.remove("prometheus")
            assert sends[0](key).status_code == 401
            (tmp_path / "keys").unlink()
            assert (scrape(server, x_api_key=key).status_code, scrape(server).status_code) == (503, 401)


def test_metrics_need_no_key_by_default(tmp_path: Path) -> None:
    with closing(SqliteKeyStore(tmp_path / "keys", create=True)):
        pass
    with serving(tmp_path, metrics_port=0, keys=tmp_path / "keys") as server:
        assert METRIC in scrape(server).text


@pytest.mark.parametrize("host", ["::1", "localhost"])
def test_metrics_listen_on_the_address_of_the_server(tmp_path: Path, host: str) -> None:
    with serving(tmp_path, metrics_port=0, host=host) as server:
        assert METRIC in scrape(server).text
