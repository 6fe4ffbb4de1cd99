"""Downloads: which hosts and addresses, how much, how long."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from llmatic.config import MediaSettings
from llmatic.core.errors import InvalidRequest
from llmatic.services.download import Downloader, allows, is_public

pytestmark = pytest.mark.anyio
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
        "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "ff02::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::10.0.0.1", "64:ff9b::7f00:1",
        "2002:7f00:1::", "2002:c0a8:101::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111"])
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    ("pattern", "host", "port", "is_allowed"),
    [
        ("example.org", "example.org", 443, True),
        ("example.org", "example.org", 80, True),
        ("example.org", "example.org", 8080, False),
        ("example.org:8080", "example.org", 8080, True),
        ("example.org:8080", "example.org", 443, False),
        ("example.org", "a.example.org", 443, False),
        ("example.org", "notexample.org", 443, False),
        ("example.org", "example.org.evil.net", 443, False),
        ("*.example.org", "a.example.org", 443, True),
        ("*.example.org", "a.b.example.org", 443, True),
        ("*.example.org", "example.org", 443, False),
        ("*.example.org", "notexample.org", 443, False),
        ("*", "anything.net", 443, True),
        ("*", "anything.net", 22, False),
        ("[::1]:99", "::1", 99, True),
    ],
)
def test_patterns_of_hosts(pattern: str, host: str, port: int, is_allowed: bool) -> None:
    assert allows((pattern,), host, port) is is_allowed


class Site:
    """A server on this machine that answers by path."""

    def __init__(self) -> None:
        self.port = 0
        self.pages: dict[str, bytes] = {}
        self.heads: list[str] = []
        self.holds = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        page = self.pages.get(head.split()[1], b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        writer.write(page)
        if page.endswith(b"..."):
            await self.holds.wait()
        writer.close()

    def url(self, path: str) -> str:
        return f"http://localhost:{self.port}{path}"


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    found = Site()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0, family=socket.AF_INET)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        found.holds.set()
        server.close()
        await server.wait_closed()


def downloader(found: Site, **settings: Any) -> Downloader:
    settings = {
        "hosts": (f"localhost:{found.port}", f"127.0.0.1:{found.port}"),
        "max_bytes": 5000,
        **settings,
    }
    return Downloader(MediaSettings(**settings), is_allowed=lambda address: address.startswith("127."))


@pytest.fixture(autouse=True)
def only_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    """`localhost` may be ::1 too, where nobody listens."""
    resolve = socket.getaddrinfo

    def ipv4(host: Any, port: Any, family: int = 0, *more: Any, **named: Any) -> Any:
        return resolve(host, port, socket.AF_INET, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", ipv4)


async def test_a_file_is_fetched() -> None:
    async with site() as found:
        found.pages["/cat.png?x=1"] = OK + b"Content-Length: 3\r\n\r\ncat"
        assert await downloader(found).fetch(found.url("/cat.png?x=1"), "p") == b"cat"
        head = found.heads[0].lower()
        assert f"host: localhost:{found.port}" in head
        assert "accept-encoding: identity" in head


@pytest.mark.parametrize(
    "page",
    [
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nca\r\n1\r\nt\r\n0\r\n\r\n",
        OK + b"\r\ncat",
        b"HTTP/1.0 200 OK\r\n\r\ncat",
    ],
    ids=["chunked", "to the end", "old"],
)
async def test_bodies_of_every_form(page: bytes) -> None:
    async with site() as found:
        found.pages["/"] = page
        assert await downloader(found).fetch(found.url("/"), "p") == b"cat"


async def test_redirects_are_followed_as_far_as_three() -> None:
    async with site() as found:
        for n in range(4):
            found.pages[f"/{n}"] = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: %d\r\n\r\n" % (
                n + 1
            )
        found.pages["/4"] = OK + b"Content-Length: 3\r\n\r\ncat"
        assert await downloader(found).fetch(found.url("/1"), "p") == b"cat"
        with pytest.raises(InvalidRequest, match="Too many redirects"):
            await downloader(found).fetch(found.url("/0"), "p")


@pytest.mark.parametrize(
    "place", ["http://other.example/", "http://[::1]/", "file:///etc/passwd", "//evil.example/x"]
)
async def test_redirects_meet_the_same_checks(place: str) -> None:
    async with site() as found:
        found.pages["/"] = f"HTTP/1.1 301 x\r\nContent-Length: 0\r\nLocation: {place}\r\n\r\n".encode()
        with pytest.raises(InvalidRequest, match=r"not allowed here|is invalid"):
            await downloader(found).fetch(found.url("/"), "p")
        assert len(found.heads) == 1


async def test_an_address_that_is_not_public_is_not_connected_to() -> None:
    async with site() as found:
        plain = Downloader(MediaSettings(hosts=(f"localhost:{found.port}", f"127.0.0.1:{found.port}")))
        for host in ("localhost", "127.0.0.1"):
            with pytest.raises(InvalidRequest, match="an address that is not public"):
                await plain.fetch(f"http://{host}:{found.port}/", "p")
        assert found.heads == []
        found.pages["/"] = OK + b"Content-Length: 3\r\n\r\ncat"
        private = Downloader(MediaSettings(hosts=(f"localhost:{found.port}",), allow_private=True))
        assert await private.fetch(found.url("/"), "p") == b"cat"


async def test_the_address_that_was_checked_is_the_one_that_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with site() as found:
        found.pages["/"] = OK + b"Content-Length: 3\r\n\r\ncat"
        asked: list[str] = []

        def is_allowed(address: str) -> bool:
            asked.append(address)
            monkeypatch.setattr(socket, "getaddrinfo", _never)
            return True

        settings = MediaSettings(hosts=(f"localhost:{found.port}",))
        assert await Downloader(settings, is_allowed=is_allowed).fetch(found.url("/"), "p") == b"cat"
        assert set(asked) == {"127.0.0.1"}


def _never(host: str, *_: Any, **__: Any) -> Any:
    assert host == "127.0.0.1", "the name is looked up again"
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, _[0]))]


@pytest.mark.parametrize(
    "page",
    [
        OK + b"Content-Length: 5001\r\n\r\n...",
        OK + b"Transfer-Encoding: chunked\r\n\r\n1389\r\n" + b"x" * 5001 + b"\r\n...",
        OK + b"\r\n" + b"x" * 6000 + b"...",
    ],
    ids=["announced", "chunked", "endless"],
)
async def test_large_files_are_given_up(page: bytes) -> None:
    async with site() as found:
        found.pages["/"] = page
        with pytest.raises(InvalidRequest, match="at most 5000 bytes") as caught:
            await downloader(found).fetch(found.url("/"), "p")
        assert caught.value.code == "media_too_large"


@pytest.mark.parametrize("page", [OK + b"Content-Length: 9\r\n\r\nslow ...", OK[:9] + b"..."])
async def test_slow_servers_are_given_up(page: bytes) -> None:
    async with site() as found:
        found.pages["/"] = page
        with pytest.raises(InvalidRequest, match="Timeout while downloading") as caught:
            await downloader(found, timeout_s=0.05).fetch(found.url("/"), "p")
        assert (caught.value.code, caught.value.param) == ("invalid_image_url", "p")


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (b"HTTP/1.1 500 no\r\nContent-Length: 0\r\n\r\n", "Upstream status code: 500"),
        (b"HTTP/1.1 204 no\r\n\r\n", "Upstream status code: 204"),
        (b"HTTP/1.1 302 no\r\nContent-Length: 0\r\n\r\n", "Upstream status code: 302"),
        (b"SSH-2.0-OpenSSH\r\n", "Error while downloading"),
        (b"", "Error while downloading"),
        (OK + b"Content-Length: 9\r\n\r\ncut", "Error while downloading"),
        (OK + b"X: " + b"y" * 200_000, "Error while downloading"),
    ],
    ids=["500", "204", "302", "no http", "nothing", "cut off", "endless head"],
)
async def test_answers_that_are_no_file(page: bytes, message: str) -> None:
    async with site() as found:
        found.pages["/"] = page
        with pytest.raises(InvalidRequest, match=message):
            await downloader(found).fetch(found.url("/"), "p")


@pytest.mark.parametrize(
    "url",
    [
        "http://", "http:///x", "http://a b/", "http://user:word@localhost/", "http://localhost:99999/",
        "http://localhost:x/", "http://[::1/", "https://exa\nmple.org/", "http://" + "a" * 9000, "http://bücher.de/",
    ],
)  # fmt: skip
async def test_addresses_that_are_none(url: str) -> None:
    plain = Downloader(MediaSettings(hosts=("*",)))
    with pytest.raises(InvalidRequest, match="Image URL is invalid"):
        await plain.fetch(url, "p")


async def test_hosts_that_are_not_listed_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", _never)
    with pytest.raises(InvalidRequest, match=r"'example\.org'.*media\.hosts"):
        await Downloader(MediaSettings(hosts=("example.net",))).fetch("https://example.org/x.png", "p")


async def test_a_name_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(InvalidRequest, match="host was not found"):
        await Downloader(MediaSettings(hosts=("*",))).fetch("http://nowhere.example/x", "p")


async def test_nobody_listens() -> None:
    async with site() as found:
        port = found.port
    silent = Downloader(MediaSettings(hosts=(f"localhost:{port}",)), is_allowed=lambda _: True)
    with pytest.raises(InvalidRequest, match="Error while downloading"):
        await silent.fetch(f"http://localhost:{port}/", "p")
