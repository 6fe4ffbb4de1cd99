"""Downloading a picture that a client named, without being made a tool against others.

Owns which hosts and addresses may be asked, and the limits of time, size and redirects. The address that was
checked is the one that is connected to, so that a name cannot change its meaning in between. Asynchronous, on
the event loop; keeps no connection.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from urllib.parse import SplitResult, urljoin, urlsplit

import h11

from llmatic.config import MediaSettings
from llmatic.core.errors import InvalidRequest

MAX_REDIRECTS = 3
MAX_URL_CHARACTERS = 8192
_PORTS = {"http": 80, "https": 443}
_REDIRECTS = (301, 302, 303, 307, 308)
_READ_BYTES = 1 << 16
_AGENT = "llmatic"
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class _Target:
    """`host` at `address`, and what is asked of it."""

    url: SplitResult
    host: str
    port: int
    address: str


class Downloader:
    """Fetches files from the hosts that the settings allow."""

    def __init__(self, settings: MediaSettings, *, is_allowed: Callable[[str], bool] | None = None) -> None:
        """`is_allowed`: whether an address may be connected to; by default, public ones or all."""
        self._settings = settings
        self._is_allowed = is_allowed or (lambda text: settings.allow_private or is_public(text))

    async def fetch(self, url: str, param: str) -> bytes:
        """The body. Raises InvalidRequest: not allowed, not there, too large, too late."""
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                for _ in range(MAX_REDIRECTS + 1):
                    target = await self._resolve(url, param)
                    found = await self._ask(target, param)
                    if isinstance(found, bytes):
                        return found
                    url = urljoin(url, found)
        except TimeoutError as error:
            raise _refusal(f"Timeout while downloading {_shown(url)}.", param) from error
        except (OSError, h11.ProtocolError, ValueError) as error:
            raise _refusal(f"Error while downloading {_shown(url)}.", param) from error
        raise _refusal(f"Error while downloading {_shown(url)}. Too many redirects.", param)

    async def _resolve(self, url: str, param: str) -> _Target:
        """What to connect to, after every check."""
        parts = _split(url)
        if parts is None or not parts.hostname:
            raise _refusal(f"Failed to download image from {_shown(url)}. Image URL is invalid.", param)
        host, port = parts.hostname, parts.port or _PORTS[parts.scheme]
        if not allows(self._settings.hosts, host, port):
            raise _refusal(
                f"Downloading from '{host}' (port {port}) is not allowed here. Send the image as a data URL "
                "(data:image/png;base64,…), or have the host added to 'media.hosts' in the configuration.",
                param,
            )
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            message = f"Error while downloading {_shown(url)}. The host was not found."
            raise _refusal(message, param) from error
        addresses = [str(entry[4][0]) for entry in found]
        if not addresses or not all(self._is_allowed(address) for address in addresses):
            message = f"Downloading from '{host}' is not allowed here: it has an address that is not public."
            raise _refusal(message, param)
        return _Target(parts, host, port, addresses[0])

    async def _ask(self, target: _Target, param: str) -> bytes | str:
        """The body, or where it is to be found instead."""
        secure = _tls() if target.url.scheme == "https" else None
        name = target.host if secure is not None else None
        reader, writer = await asyncio.open_connection(
            target.address, target.port, ssl=secure, server_hostname=name
        )
        try:
            return await self._exchange(reader, writer, target, param)
        finally:
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                writer.transport.abort()

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: _Target, param: str
    ) -> bytes | str:
        connection = h11.Connection(our_role=h11.CLIENT)
        path = (target.url.path or "/") + (f"?{target.url.query}" if target.url.query else "")
        headers = [
            ("Host", target.url.netloc.rpartition("@")[2]),
            ("User-Agent", _AGENT),
            ("Accept", "image/*"),
            ("Accept-Encoding", "identity"),
            ("Connection", "close"),
        ]
        request = h11.Request(method="GET", target=path, headers=headers)
        writer.write((connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b""))
        body = bytearray()
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(_READ_BYTES))
            elif isinstance(event, h11.Response):
                place = self._check_head(event, target, param)
                if place is not None:
                    return place
            elif isinstance(event, h11.Data):
                body += event.data
                self._check_size(len(body), param)
            elif isinstance(event, h11.EndOfMessage):
                return bytes(body)
            elif isinstance(event, h11.ConnectionClosed):
                raise ConnectionResetError

    def _check_head(self, response: h11.Response, target: _Target, param: str) -> str | None:
        headers = {bytes(name).lower(): bytes(value) for name, value in response.headers}
        if response.status_code in _REDIRECTS and b"location" in headers:
            return headers[b"location"].decode("latin-1")
        if response.status_code != 200:
            shown = _shown(target.url.geturl())
            raise _refusal(
                f"Error while downloading {shown}. Upstream status code: {response.status_code}.", param
            )
        length = headers.get(b"content-length", b"")
        if length.isdigit():
            self._check_size(int(length), param)
        return None

    def _check_size(self, n_bytes: int, param: str) -> None:
        limit = self._settings.max_bytes
        if n_bytes > limit:
            raise InvalidRequest(
                f"The image is too large: at most {limit} bytes are allowed.",
                param=param,
                code="media_too_large",
            )


def allows(hosts: tuple[str, ...], host: str, port: int) -> bool:
    """Whether one of the patterns means this host and port; without a port it means 80 and 443."""
    for pattern in hosts:
        if pattern == "*":
            if port in _PORTS.values():
                return True
            continue
        parts = urlsplit("//" + pattern)
        wanted = parts.hostname or ""
        is_host = host.endswith(wanted[1:]) if wanted.startswith("*.") else host == wanted
        if is_host and (port == parts.port if parts.port else port in _PORTS.values()):
            return True
    return False


def is_public(text: str) -> bool:
    """Whether the address belongs to the Internet, as does the one that may be inside it (IPv4 in IPv6)."""
    address: Address = ipaddress.ip_address(text.partition("%")[0])
    if not address.is_global or address.is_multicast or address.is_reserved or address.is_unspecified:
        return False
    return all(is_public(str(inner)) for inner in _inner(address))


def _inner(address: Address) -> list[ipaddress.IPv4Address]:
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    return [inner for inner in found if inner is not None]


def _split(url: str) -> SplitResult | None:
    if len(url) > MAX_URL_CHARACTERS or any(ord(c) <= 32 or ord(c) >= 127 for c in url):
        return None
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in _PORTS and "@" not in parts.netloc and (parts.port or 1) > 0
    except ValueError:
        return None
    return parts if is_usable else None


def _refusal(message: str, param: str) -> InvalidRequest:
    return InvalidRequest(message, param=param, code="invalid_image_url")


def _shown(url: str) -> str:
    return url if len(url) <= 200 else url[:200] + "…"


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
