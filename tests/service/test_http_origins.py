"""Host and Origin over HTTP: what pages of other origins, in a real browser too, may do to a server."""

from __future__ import annotations

import base64
import functools
import http.server
import json
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from selenium import webdriver

from automask.service.keys.sqlite import SqliteKeyStore
from support.browser import REBOUND, needs_browser, running_browser
from support.threaded_server import serving, wait_until

V1, V2 = "/v1/automatic-mask-generator", "/v2/automatic-mask-generator"
ELSEWHERE = "https://elsewhere.example"


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("open"), http_port=0) as server:
        yield f"http://{server.http_address}"


def models(origin: str, host: str) -> httpx.Response:
    return httpx.get(f"{origin}/playground/models", headers={"host": host}, timeout=60)


def post(server: str, jpeg: bytes, path: str = V1, **headers: str) -> httpx.Response:
    """Send the form that a page of any origin can send without asking the server."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(server + path, files={"image": jpeg}, data={"prompt": "cup"}, headers=named, timeout=60)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:8080", "127.8.8.8", "[::1]:80", "a.localhost."]
)
def test_loopback_names_are_allowed(origin: str, host: str) -> None:
    assert models(origin, host).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "192.0.2.1",
        "[",
        "a@localhost@b",
    ],
)
def test_another_host_is_refused_with_the_option_that_allows_it(origin: str, host: str) -> None:
    refused = models(origin, host)
    assert (refused.status_code, refused.json()["reason"]) == (400, "INVALID_PARAMETER")
    assert refused.json()["error"] == (
        f"Host must be one of 127.0.0.1, localhost, or a host allowed by `automask serve --allowed-host`, got {host!r}"
    )
    assert refused.json()["request_id"] == refused.headers["x-request-id"]


def test_health_is_answered_for_any_host_and_a_client_without_host_is_no_browser(origin: str) -> None:
    assert httpx.get(f"{origin}/healthz", headers={"host": "balancer.example"}, timeout=60).status_code == 200
    host, _, port = origin.rpartition("/")[2].rpartition(":")
    with socket.create_connection((host, int(port))) as old:
        old.sendall(b"GET /playground/models HTTP/1.0\r\n\r\n")
        assert old.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_hosts_are_allowed_by_name_by_public_url_or_all(tmp_path: Path) -> None:
    with serving(
        tmp_path / "a", http_port=0, allowed_hosts="Masks.lan,other.lan", public_url="https://masks.example/x"
    ) as server:
        named = f"http://{server.http_address}"
        assert [models(named, host).status_code for host in ("masks.lan:80", "other.lan", "masks.example")] == [200] * 3
        assert models(named, "evil.example").status_code == 400
    with serving(tmp_path / "b", http_port=0, allowed_hosts="*") as server:
        assert models(f"http://{server.http_address}", "evil.example").status_code == 200


def test_a_server_on_every_address_allows_addresses_but_no_names(tmp_path: Path) -> None:
    with serving(tmp_path, http_port=0, host="0.0.0.0", insecure=True) as server:  # noqa: S104
        everywhere = f"http://{server.http_address}".replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        assert [models(everywhere, host).status_code for host in ("10.1.2.3:8080", "[fd00::1]")] == [200, 200]
        assert models(everywhere, "evil.example").status_code == 400


def test_a_server_with_keys_checks_the_host_only_if_told_so(tmp_path: Path) -> None:
    with closing(SqliteKeyStore(tmp_path / "keys", create=True)) as keys:
        key = {"x-api-key": keys.add("camera")}
    for allowed, status in (("", 200), ("masks.example", 400)):
        options = {"allowed_hosts": allowed} if allowed else {}
        with serving(tmp_path / f"to-{allowed}", http_port=0, keys=tmp_path / "keys", **options) as server:
            url = f"http://{server.http_address}/playground/models"
            assert httpx.get(url, headers={"host": "balancer.example", **key}, timeout=60).status_code == status


def test_forwarded_headers_do_not_replace_the_checked_host(tmp_path: Path) -> None:
    with serving(tmp_path, http_port=0, trusted_proxies="127.0.0.0/8") as server:
        headers = {"host": "evil.example", "x-forwarded-host": "localhost"}
        assert (
            httpx.get(f"http://{server.http_address}/playground/models", headers=headers, timeout=60).status_code == 400
        )


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": ELSEWHERE, "sec_fetch_site": "cross-site"},
        {"origin": "http://127.0.0.1:1", "sec_fetch_site": "same-site"},
        {"sec_fetch_site": "cross-site"},
        {"origin": ELSEWHERE},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "http://["},
    ],
)
@pytest.mark.parametrize("path", [V1, V2, "/playground/mask"])
def test_a_post_for_a_page_of_another_origin_starts_no_work(
    origin: str, jpeg: bytes, path: str, headers: dict[str, str], runs: Counter[str]
) -> None:
    refused = post(origin, jpeg, path, **headers)
    assert (refused.status_code, refused.json()["reason"]) == (403, "NOT_ALLOWED")
    shown = headers.get("origin", "unknown")
    assert refused.json()["error"] == (
        f"pages of the origin {shown!r} must not call this server (`automask serve --cors-origin`)"
    )
    assert not runs


def test_own_pages_and_clients_that_are_no_browsers_pass(origin: str, jpeg: bytes) -> None:
    for headers in (
        {},
        {"origin": origin},
        {"origin": origin, "sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "none"},
    ):
        assert post(origin, jpeg, **headers).status_code == 200


def test_own_pages_behind_a_proxy_pass(tmp_path: Path, jpeg: bytes) -> None:
    page = {"origin": "https://masks.example"}
    with serving(tmp_path / "a", http_port=0, public_url="https://masks.example/ai") as server:
        assert post(f"http://{server.http_address}", jpeg, **page).status_code == 200
    with serving(tmp_path / "b", http_port=0, trusted_proxies="127.0.0.1") as server:
        proxied = {"x_forwarded_host": "masks.example", "x_forwarded_proto": "https"}
        assert post(f"http://{server.http_address}", jpeg, **page, **proxied).status_code == 200
        assert post(f"http://{server.http_address}", jpeg, **page).status_code == 403


@pytest.mark.parametrize("allowed", [ELSEWHERE, "*"])
def test_pages_of_allowed_origins_pass(tmp_path: Path, jpeg: bytes, allowed: str) -> None:
    with serving(tmp_path, http_port=0, cors_origins=allowed) as server:
        answer = post(f"http://{server.http_address}", jpeg, origin=ELSEWHERE, sec_fetch_site="cross-site")
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, allowed)


@contextmanager
def page_of_another_origin(folder: Path) -> Iterator[str]:
    """Serve an empty page on another port of this machine."""
    folder.joinpath("index.html").write_text("<title>elsewhere</title>")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as site:
        thread = Thread(target=site.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{site.server_port}"
        finally:
            site.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with running_browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[str]:
    with page_of_another_origin(tmp_path) as url:
        yield url


SEND = """
const [url, mode, photo, done] = arguments;
const form = new FormData();
form.append("prompt", "cup");
form.append("image", new Blob([Uint8Array.from(atob(photo), c => c.charCodeAt(0))]), "cup.jpg");
fetch(url, {method: "POST", mode, body: form}).then(
    async answer => done([answer.type, answer.status, (await answer.blob()).type]), error => done([String(error)]));
"""


def send(browser: webdriver.Chrome, url: str, mode: str, jpeg: bytes) -> Any:
    return browser.execute_async_script(SEND, url, mode, base64.b64encode(jpeg).decode())


@needs_browser
def test_a_page_of_another_port_starts_no_work_in_chromium(
    browser: webdriver.Chrome, elsewhere: str, origin: str, jpeg: bytes, runs: Counter[str]
) -> None:
    browser.get(elsewhere)
    assert send(browser, origin + V1, "no-cors", jpeg) == ["opaque", 0, ""]
    assert send(browser, origin + V1, "cors", jpeg) == ["TypeError: Failed to fetch"]
    assert send(browser, origin + V2, "no-cors", jpeg) == ["opaque", 0, ""]
    browser.execute_script(
        "document.body.innerHTML = `<form method=post enctype=multipart/form-data action=${arguments[0]}>"
        "<input name=prompt value=cup></form>`; document.forms[0].submit()",
        origin + V1,
    )
    wait_until(lambda: "must not call this server" in browser.find_element("tag name", "body").text)
    assert not runs


@needs_browser
def test_own_and_allowed_pages_get_masks_in_chromium(
    browser: webdriver.Chrome, elsewhere: str, origin: str, jpeg: bytes, tmp_path: Path
) -> None:
    browser.get(origin)
    assert send(browser, V1, "cors", jpeg) == ["basic", 200, "image/png"]
    with serving(tmp_path, http_port=0, cors_origins=elsewhere) as server:
        browser.get(elsewhere)
        assert send(browser, f"http://{server.http_address}{V1}", "cors", jpeg) == ["cors", 200, "image/png"]


@needs_browser
def test_a_rebound_name_reads_nothing_in_chromium(
    browser: webdriver.Chrome, origin: str, jpeg: bytes, runs: Counter[str]
) -> None:
    port = origin.rpartition(":")[2]
    browser.get(f"http://{REBOUND}:{port}/playground/models")
    assert json.loads(browser.find_element("tag name", "pre").text)["error"].startswith("Host must be one of ")
    assert post(origin, jpeg, host=f"{REBOUND}:{port}", origin=f"http://{REBOUND}:{port}").status_code == 400
    assert not runs
