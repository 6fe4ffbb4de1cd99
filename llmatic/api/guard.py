"""Keeps foreign web pages out: which Host and Origin are ours, and the CORS headers of those that are.

JSON bodies are read whatever their Content-Type says, so a page on any site could post to this server
without asking first. Two rules stop it: a Host name that is not ours is refused (a foreign name that
resolves to this machine), and so is an Origin that neither is this server nor is listed in the
configuration. Pure; decisions are remembered per header value. Event loop's thread.
"""

import ipaddress
from urllib.parse import urlsplit

from llmatic.config import ServerSettings
from llmatic.core.errors import Forbidden

_MAX_REMEMBERED = 1024
_EXPOSED = (
    b"x-request-id, openai-processing-ms, openai-model, openai-version, retry-after, retry-after-ms, "
    b"x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
    b"x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens"
)


class Guard:
    """Decides on Host and Origin by the `server:` settings."""

    def __init__(self, settings: ServerSettings) -> None:
        names = {settings.host.lower(), *(_bare(name) for name in settings.allowed_hosts)}
        self._any_host = "*" in names
        self._names = frozenset(name for name in names if not name.startswith("*"))
        self._suffixes = tuple(name[1:] for name in names if name.startswith("*."))
        self._origins = frozenset(origin.rstrip("/").lower() for origin in settings.cors_origins)
        self._known_hosts: dict[bytes, bool] = {}

    def check(self, hosts: list[bytes], origin: bytes | None) -> bool:
        """True when the reply needs CORS headers for `origin`. Raises Forbidden.

        A request without Host (HTTP/1.0) cannot come from a browser and passes; more than one Host is
        refused.
        """
        if len(hosts) > 1:
            raise Forbidden("More than one Host header.", code="host_not_allowed")
        host = hosts[0] if hosts else b""
        if host and not self._knows(host):
            shown = host.decode("latin-1")
            raise Forbidden(
                f"This server does not answer for the host '{shown}'. "
                "Whoever runs it can add the name to `server.allowed_hosts`.",
                code="host_not_allowed",
            )
        if origin is None:
            return False
        text = origin.decode("latin-1").lower()
        if text in self._origins or "*" in self._origins:
            return True
        if _is_same(text, host.decode("latin-1").lower()):
            return False
        raise Forbidden(
            f"Requests from the origin '{text}' are not allowed. "
            "Whoever runs this server can add it to `server.cors_origins`.",
            code="origin_not_allowed",
        )

    def _knows(self, host: bytes) -> bool:
        known = self._known_hosts.get(host)
        if known is None:
            known = self._any_host or self._decide(_bare(host.decode("latin-1")))
            if len(self._known_hosts) < _MAX_REMEMBERED:
                self._known_hosts[host] = known
        return known

    def _decide(self, name: str) -> bool:
        if name in self._names or name == "localhost" or name.endswith(".localhost"):
            return True
        return name.endswith(self._suffixes) if self._suffixes and not _is_ip(name) else _is_ip(name)


def cors_headers(origin: bytes) -> list[tuple[bytes, bytes]]:
    """Headers of every reply to a page of an allowed origin."""
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", _EXPOSED),
        (b"vary", b"Origin"),
    ]


def preflight_headers(origin: bytes, wanted_headers: bytes | None) -> list[tuple[bytes, bytes]]:
    """Headers of the answer to a CORS preflight from an allowed origin."""
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-methods", b"GET, POST, PUT, DELETE, OPTIONS"),
        (b"access-control-allow-headers", wanted_headers or b"authorization, content-type"),
        (b"access-control-max-age", b"600"),
        (b"vary", b"Origin, Access-Control-Request-Headers"),
    ]


def _bare(host: str) -> str:
    """The name in a Host header: without port, brackets and the root's dot, in lower case."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    if host.count(":") == 1:
        host = host.partition(":")[0]
    return host.rstrip(".")


def _is_ip(name: str) -> bool:
    # An address in the Host header cannot be rebound: only names can.
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_same(origin: str, host: str) -> bool:
    """Whether the page that asks was served by this very host and port."""
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or not parts.netloc or not host:
        return False
    default = 443 if parts.scheme == "https" else 80
    return (_bare(parts.netloc), port or default) == (_bare(host), _port(host) or default)


def _port(host: str) -> int | None:
    digits = host.rpartition(":")[2] if ":" in host and not host.endswith("]") else ""
    return int(digits) if digits.isdigit() else None
