"""The URL fetcher against real sites on loopback: what it fetches and what it must reject."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import Sequence
from contextlib import AsyncExitStack
from importlib.resources import files
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from automask.errors import ImageError
from automask.service.http.addresses import Address, Resolver, is_public
from automask.service.http.fetch import Fetcher
from support.ports import free_port
from support.sites import Site, SiteResponse, http_response, site

PHOTO = files("automask.data").joinpath("person.jpg").read_bytes()
LIMIT = 2 * len(PHOTO)
IMAGE = http_response(PHOTO, Content_Type="image/jpeg")

VERDICTS = [
    ("public", "8.8.8.8", True),
    ("public", "93.184.216.34", True),
    ("public", "2606:4700:4700::1111", True),
    ("public, mapped into IPv6", "::ffff:8.8.8.8", True),
    ("public, behind NAT64", "64:ff9b::808:808", True),
    ("this host", "0.0.0.0", False),  # noqa: S104 (nothing is bound to it)
    ("this host", "::", False),
    ("loopback", "127.0.0.1", False),
    ("loopback", "127.255.255.254", False),
    ("loopback", "::1", False),
    ("private", "10.0.0.1", False),
    ("private", "172.16.0.1", False),
    ("private", "172.31.255.255", False),
    ("private", "192.168.1.1", False),
    ("private", "fd00::1", False),
    ("carrier-grade NAT", "100.64.0.1", False),
    ("link-local", "169.254.1.1", False),
    ("link-local", "fe80::1", False),
    ("link-local, with a zone", "fe80::1%1", False),
    ("site-local", "fec0::1", False),
    ("metadata (AWS, Azure, Google)", "169.254.169.254", False),
    ("metadata (AWS)", "fd00:ec2::254", False),
    ("metadata (Alibaba)", "100.100.100.200", False),
    ("metadata (Oracle)", "192.0.0.192", False),
    ("inside every machine (Azure)", "168.63.129.16", False),
    ("loopback, mapped into IPv6", "::ffff:127.0.0.1", False),
    ("metadata, mapped into IPv6", "::ffff:169.254.169.254", False),
    ("loopback, IPv4-compatible", "::127.0.0.1", False),
    ("private, translated (SIIT)", "::ffff:0:10.0.0.1", False),
    ("private, behind NAT64", "64:ff9b::a00:1", False),
    ("private, behind local NAT64", "64:ff9b:1::a00:1", False),
    ("private, through 6to4", "2002:a00:1::", False),
    ("public, through 6to4", "2002:808:808::", False),
    ("Teredo", "2001:0:a00:1::1", False),
    ("relay of 6to4", "192.88.99.1", False),
    ("documentation", "192.0.2.1", False),
    ("documentation", "2001:db8::1", False),
    ("documentation", "3fff::1", False),
    ("benchmarks", "198.18.0.1", False),
    ("multicast", "224.0.0.1", False),
    ("multicast", "ff02::1", False),
    ("reserved", "240.0.0.1", False),
    ("broadcast", "255.255.255.255", False),
    ("never given out", "4000::1", False),
]

# Followed by the port of a site on 127.0.0.1.
SPELLINGS = {
    "plain": "127.0.0.1",
    "short": "127.1",
    "decimal": "2130706433",
    "hexadecimal": "0x7f000001",
    "hexadecimal, by part": "0x7f.1",
    "octal, short": "0177.1",
    "octal, one number": "017700000001",
    "name": "localhost",
    "name, capitals": "LocalHost",
}
UNREADABLE = {"octal": "0177.0.0.1", "octal, padded": "127.0.0.01", "circled digits": "①②⑦.⓪.⓪.①"}
IPV6 = {"mapped": "[::ffff:127.0.0.1]", "mapped, hexadecimal": "[::ffff:7f00:1]", "loopback": "[::1]", "any": "[::]"}

MALFORMED = [
    ("file:///etc/passwd", "http:// or https://, got 'file'"),
    ("ftp://example.com/a.jpg", "got 'ftp'"),
    ("gopher://example.com/", "got 'gopher'"),
    ("data:image/png;base64,AAAA", "got 'data'"),
    ("//example.com/a.jpg", "got ''"),
    ("photo.jpg", "got ''"),
    ("http:///a.jpg", "must name a host"),
    ("http://xn--n3h/", "URL is invalid"),
    ("http://example.com:port/", "URL is invalid"),
    ("http://exa\nmple.com/", "URL is invalid"),
    ("http://me:secret@example.com/", "must not contain a user or password"),
    ("http://example.com@127.0.0.1/", "must not contain a user or password"),
    ("http://127.0.0.1\\@example.com/", "must not contain a user or password"),
    ("http://example.com:22/", "80, 443 or in 1024..65535, got 22"),
    ("http://example.com:0/", "80, 443 or in 1024..65535, got 0"),
    ("http://example.com:65536/", "80, 443 or in 1024..65535, got 65536"),
]


def only(*addresses: str) -> Any:
    """Treat only these addresses as public."""
    return lambda address: str(address) in addresses


def names(*answers: Sequence[str]) -> Resolver:
    """A name server whose answers change; the last one repeats."""
    left = [*answers]

    async def resolve(host: str) -> Sequence[str]:
        del host
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


def fetcher(*addresses: str, timeout: float = 60.0, **parts: Any) -> Fetcher:
    return Fetcher("public", LIMIT, timeout, is_allowed=only(*addresses or ("127.0.0.1",)), **parts)


def fetch(answer: SiteResponse, path: str = "/", **parts: Any) -> bytes:
    """Fetch from a site with this response."""

    async def run() -> bytes:
        async with site(answer) as found:
            return await fetcher(**parts).fetch(f"http://{found.address}{path}")

    return asyncio.run(run())


def visit(one: Fetcher, url: str, **listening: Any) -> tuple[Site, ImageError | bytes]:
    """Fetch a URL, in which {port} is that of a site; return the site and the image or error."""

    async def run() -> tuple[Site, ImageError | bytes]:
        async with site(IMAGE, **listening) as found:
            try:
                return found, await one.fetch(url.format(port=found.port))
            except ImageError as error:
                return found, error

    return asyncio.run(run())


def test_an_image_is_returned_unchanged_and_the_request_reveals_little() -> None:
    found, image = visit(fetcher(), "http://127.0.0.1:{port}/a%20b.jpg?size=1#part")
    assert image == PHOTO
    request, *headers = found.requests[0].decode().strip().split("\r\n")
    assert request == "GET /a%20b.jpg?size=1 HTTP/1.1"
    assert {line.split(":")[0].lower() for line in headers} == {"host", "accept", "accept-encoding", "user-agent"}
    assert f"Host: 127.0.0.1:{found.port}" in headers
    assert "Accept-Encoding: identity" in headers


@pytest.mark.parametrize(("what", "text", "verdict"), VERDICTS, ids=str)
def test_public_and_other_addresses(what: str, text: str, verdict: bool) -> None:
    assert is_public(ip_address(text)) is verdict, what


@pytest.mark.parametrize("text", [text for _, text, verdict in VERDICTS if not verdict])
def test_a_non_public_address_is_rejected_directly_and_by_name(text: str) -> None:
    literal = f"[{text}]" if ":" in text else text
    tries = [("http://example.com/", Fetcher("public", LIMIT, resolve=names([text])))]
    if "%" not in text:  # URLs have no zones
        tries.append((f"http://{literal}/", Fetcher("public", LIMIT)))
    for url, one in tries:
        with pytest.raises(ImageError, match="resolves to an address that is not public"):
            asyncio.run(one.fetch(url))


@given(st.ip_addresses(v=4))
def test_an_embedded_ipv4_address_counts(address: IPv4Address) -> None:
    for prefix in (0xFFFF << 32, 0x64FF9B << 96):
        assert is_public(IPv6Address(prefix | int(address))) is is_public(address)


@given(st.ip_addresses())
def test_no_address_is_public_that_python_calls_private(address: Address) -> None:
    inside = getattr(address, "ipv4_mapped", None) or address
    special = inside.is_private or inside.is_loopback or inside.is_link_local or inside.is_multicast
    if special or inside.is_reserved or inside.is_unspecified:
        nat64 = isinstance(address, IPv6Address) and address.packed[:12] == bytes.fromhex("0064ff9b") + bytes(8)
        assert nat64 or not is_public(address)


@pytest.mark.parametrize("host", SPELLINGS.values(), ids=SPELLINGS)
def test_no_spelling_of_loopback_is_accepted(host: str) -> None:
    url = f"http://{host}:{{port}}/"
    found, answer = visit(Fetcher("public", LIMIT), url)
    assert "resolves to an address that is not public" in str(answer)
    assert found.requests == []
    found, answer = visit(Fetcher("any", LIMIT), url)  # the URL does mean loopback
    assert answer == PHOTO


@pytest.mark.parametrize("host", [*UNREADABLE.values(), *IPV6.values()], ids=[*UNREADABLE, *IPV6])
def test_no_other_spelling_is_accepted(host: str) -> None:
    found, answer = visit(Fetcher("public", LIMIT), f"http://{host}:{{port}}/")
    assert isinstance(answer, ImageError)
    assert "resolves to an address that is not public" in str(answer) or "is invalid" in str(answer)
    assert found.requests == []


@pytest.mark.parametrize(("url", "reason"), MALFORMED)
def test_malformed_urls_are_rejected_before_resolution(url: str, reason: str) -> None:
    async def resolve(host: str) -> Sequence[str]:
        raise AssertionError(host)

    with pytest.raises(ImageError, match=".") as caught:
        asyncio.run(Fetcher("public", LIMIT, resolve=resolve).fetch(url))
    assert reason in str(caught.value)
    assert "secret" not in str(caught.value)


def test_low_ports_need_the_policy_any() -> None:
    with pytest.raises(ImageError, match="unknown host"):
        asyncio.run(Fetcher("any", LIMIT).fetch("http://nowhere.invalid:22/"))


def test_off_fetches_nothing() -> None:
    found, answer = visit(Fetcher("off", LIMIT), "http://127.0.0.1:{port}/")
    assert "does not fetch URLs" in str(answer)
    assert found.requests == []


def test_one_non_public_address_of_many_is_enough_to_reject() -> None:
    one = fetcher("127.0.0.1", resolve=names(["127.0.0.1", "127.0.0.2"]))
    found, answer = visit(one, "http://example.com:{port}/")
    assert "'example.com' resolves to an address that is not public" in str(answer)
    assert "127.0.0.2" not in str(answer)
    assert found.requests == []


async def _rebind(first: SiteResponse) -> tuple[Site, Site, ImageError | bytes]:
    """Move a name from a public to a private address, with a site at each, after the check."""
    one = fetcher("127.0.0.1", resolve=names(["127.0.0.1"], ["127.0.0.2"]))
    async with site(first) as public, site(IMAGE, host="127.0.0.2", port=public.port) as private:
        try:
            return public, private, await one.fetch(f"http://example.com:{public.port}/")
        except ImageError as error:
            return public, private, error


def test_the_connection_goes_to_the_checked_address() -> None:
    public, private, answer = asyncio.run(_rebind(IMAGE))
    assert answer == PHOTO
    assert f"Host: example.com:{public.port}".encode() in public.requests[0]
    assert private.requests == []


def test_every_redirect_resolves_its_name_again() -> None:
    public, private, answer = asyncio.run(_rebind(http_response(status="302 Found", Location="/again")))
    assert "resolves to an address that is not public" in str(answer)
    assert (len(public.requests), private.requests) == (1, [])


@pytest.mark.parametrize("addresses", [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"]])
def test_an_unreachable_address_is_skipped(addresses: list[str]) -> None:
    one = fetcher(*addresses, resolve=names(addresses))
    _, answer = visit(one, "http://example.com:{port}/")
    assert answer == PHOTO


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://127.0.0.2/", "'127.0.0.2' resolves to an address that is not public"),
        ("http://169.254.169.254/latest/meta-data/", "'169.254.169.254' resolves to an address that is not public"),
        ("//2130706434/", "'2130706434' resolves to an address that is not public"),
        ("file:///etc/passwd", "got 'file'"),
        ("http://me:secret@127.0.0.1/", "must not contain a user or password"),
        ("http://xn--n3h/", "URL is invalid"),
        ("http://127.0.0.1:port/", "URL is invalid"),
        ("http://127.0.0.1:25/", "got 25"),
        ("/", "more than 5 redirects"),
    ],
)
def test_invalid_redirects_are_rejected(location: str, reason: str) -> None:
    with pytest.raises(ImageError, match=r"^cannot fetch the image from 127\.0\.0\.1: ") as caught:
        fetch(http_response(status="302 Found", Location=location))
    assert reason in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("hops", [1, 5, 6])
def test_five_redirects_are_followed_and_no_more(hops: int) -> None:
    left = [http_response(status="307 Temporary Redirect", Location=f"hop{number}") for number in range(hops)]

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(left.pop() if left else IMAGE)
        await writer.drain()

    if hops <= 5:
        assert fetch(answer) == PHOTO
    else:
        with pytest.raises(ImageError, match="more than 5 redirects"):
            fetch(answer)


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"])
def test_a_slow_site_times_out(head: bytes) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:  # data keeps coming, so a timeout per read would never expire
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    with pytest.raises(ImageError, match=r"from 127\.0\.0\.1: timeout after 0\.3 s"):
        fetch(drip, timeout=0.3)


def test_a_slow_name_server_times_out() -> None:
    async def resolve(host: str) -> Sequence[str]:
        del host
        await asyncio.Event().wait()
        return []

    with pytest.raises(ImageError, match=r"timeout after 0\.3 s"):
        asyncio.run(fetcher(timeout=0.3, resolve=resolve).fetch("http://example.com/"))


@pytest.mark.parametrize("head", ["Transfer-Encoding: chunked", "Connection: close", f"Content-Length: {10**12}"])
def test_an_endless_image_is_cut_off(head: str) -> None:
    async def pour(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode())
        part = PHOTO[:4096].ljust(4096, b"\0")
        while True:
            writer.write(b"1000\r\n%b\r\n" % part if "chunked" in head else part)
            await writer.drain()

    with pytest.raises(ImageError, match=f"the image is larger than {LIMIT / 1e6:g} MB"):
        fetch(pour)


def test_the_size_limit_is_exact() -> None:
    whole = PHOTO.ljust(LIMIT, b"\0")
    assert fetch(http_response(whole)) == whole
    with pytest.raises(ImageError, match="the image is larger than"):
        fetch(http_response(whole + b"\0"))


def test_a_compressed_body_is_rejected() -> None:
    bomb = gzip.compress(PHOTO + bytes(10_000_000))
    assert len(bomb) < LIMIT
    with pytest.raises(ImageError, match="unexpected Content-Encoding 'gzip'"):
        fetch(http_response(bomb, Content_Encoding="gzip"))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            http_response(b"<html>secret</html>", Content_Type="image/jpeg"),
            "not a supported image; it must be JPEG, PNG",
        ),
        (http_response(b"8BPS secret"), "not a supported image"),
        (http_response(b""), "not a supported image"),
        (http_response(PHOTO, status="404 Not Found"), "HTTP status 404, expected 200"),
        (http_response(status="302 Found"), "HTTP status 302, expected 200"),
        (http_response(PHOTO, status="206 Partial Content"), "HTTP status 206, expected 200"),
        (b"SSH-2.0-secret\r\n", "the response is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "the response is not HTTP"),
        (b"", "the response is not HTTP"),
    ],
)
def test_other_content_is_rejected_without_revealing_it(answer: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=r"^cannot fetch the image from 127\.0\.0\.1: ") as caught:
        fetch(answer)
    assert reason in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_refused_connection() -> None:
    url = f"http://127.0.0.1:{free_port()}/"
    with pytest.raises(ImageError, match=r"^cannot fetch the image from 127\.0\.0\.1: the connection failed"):
        asyncio.run(fetcher().fetch(url))


def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert fetch(IMAGE) == PHOTO


@pytest.mark.parametrize(
    ("name", "trusted", "reason"),
    [
        ("example.com", True, ""),
        ("example.org", True, "Hostname mismatch"),
        ("example.com", False, "unable to get local issuer"),
    ],
)
def test_tls_is_verified_for_the_name(
    name: str,
    trusted: bool,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("example.com").configure_cert(tls)
    (authority if trusted else trustme.CA()).cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    found, answer = visit(fetcher(resolve=names(["127.0.0.1"])), f"https://{name}:{{port}}/", tls=tls)
    if reason:
        assert reason in str(answer)
        assert found.requests == []
    else:
        assert answer == PHOTO
        assert f"Host: example.com:{found.port}".encode() in found.requests[0]


def test_concurrent_fetches_are_limited() -> None:
    async def run() -> tuple[int, int]:
        full, go = asyncio.Event(), asyncio.Event()
        open_now: list[int] = []

        async def answer(writer: asyncio.StreamWriter) -> None:
            open_now.append(1)
            if len(open_now) == 32:
                full.set()
            await go.wait()
            writer.write(IMAGE)
            await writer.drain()

        async with AsyncExitStack() as stack:
            found = await stack.enter_async_context(site(answer))
            one = fetcher()
            fetches = [asyncio.create_task(one.fetch(f"http://{found.address}/")) for _ in range(40)]
            await full.wait()
            most = len(open_now)
            go.set()
            return most, sum(image == PHOTO for image in await asyncio.gather(*fetches))

    assert asyncio.run(run()) == (32, 40)
