"""Who can reach the server, and whether it may let everybody in.

Owns the rule: without any key, only this machine's own programs are served. A key that was revoked or has
expired is a key: a server that starts anew must not be open because the last one is gone. Looks names up,
which may block.
"""

import asyncio
import ipaddress
import socket

import structlog

from llmatic.config import AuthSettings, ServerSettings, Settings
from llmatic.core.errors import ConfigError
from llmatic.services.keys import Keys

_log = structlog.get_logger("llmatic.auth")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there; False for what is no address."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        return False
    return all(ipaddress.ip_address(str(address[0])).is_loopback for *_, address in found)


def may_be_open(server: ServerSettings) -> bool:
    """Whether callers without a key may be served as long as there is no key."""
    return server.insecure or is_loopback(server.host)


def has_tokens(auth: AuthSettings) -> bool:
    """Whether JSON web tokens are taken."""
    return auth.jwt_secret is not None or auth.jwt_keys is not None


def asks_for_keys(settings: Settings, keys: Keys) -> bool:
    """Whether callers must say who they are; blocks. Raises Unavailable if the database cannot be asked."""
    if settings.server.api_keys or has_tokens(settings.auth):
        return True
    if not asyncio.run(keys.exist()):
        return False
    if not asyncio.run(keys.open_any()):
        _log.warning(
            "no_key_opens",
            why="all are revoked or have expired: nobody is served",
            make="llmatic keys create",
        )
    return True


def require_keys(settings: Settings, keys: Keys) -> bool:
    """`asks_for_keys`. Raises ConfigError if nobody would be asked and others than this machine can call."""
    asks = asks_for_keys(settings, keys)
    if not asks and not may_be_open(settings.server):
        raise ConfigError(
            f"The server would be open to everybody who can reach {settings.server.host}: there is no "
            "key yet. Make one with `llmatic keys create -n me`, or set server.api_keys (LLMATIC_API_KEYS) "
            "or auth.jwt_…; or listen on 127.0.0.1 only; or say --insecure (server.insecure, "
            "LLMATIC_SERVER__INSECURE=true) to let everybody in. In a container set LLMATIC_API_KEYS; or, if "
            "its port is published to your own machine only (-p 127.0.0.1:8000:8000), "
            "LLMATIC_SERVER__INSECURE=true.",
            param="host",
        )
    return asks
