"""`llmatic serve`: settings, an early look at the address, then the server.

Owns the overrides by option and the sentence for an address that cannot be had. Never serves itself.
"""

import errno
import os
import socket
from dataclasses import replace
from pathlib import Path

from llmatic.config import Settings, load_settings
from llmatic.core.errors import ConfigError


def serve(config: Path | None, host: str | None, port: int | None, *, insecure: bool = False) -> None:
    """Run the server until it is told to stop. Raises ConfigError for what can be told beforehand."""
    settings = with_overrides(load_settings(config, os.environ), host, port, insecure=insecure)
    check_address(settings.server.host, settings.server.port)
    from llmatic.server import run

    run(settings)


def with_overrides(
    settings: Settings, host: str | None, port: int | None, *, insecure: bool = False
) -> Settings:
    """The settings with the command line's host and port, where given."""
    server = settings.server
    if host is not None:
        server = replace(server, host=host)
    if port is not None:
        server = replace(server, port=port)
    if insecure:
        server = replace(server, insecure=True)
    return replace(settings, server=server)


def check_address(host: str, port: int) -> None:
    """Raise ConfigError if nobody could listen there now, before any model is loaded."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"The host '{host}' is no address of this machine: {error}.", param="host"
        ) from error
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise ConfigError(_words(error, host, port), param="port") from error


def _words(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} on {host} is already in use; stop the program that uses it, "
            f"or choose another one with --port."
        )
    if error.errno == errno.EACCES:
        return f"This user may not listen on port {port}; choose one above 1023 with --port."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"The host '{host}' is no address of this machine; 127.0.0.1 and 0.0.0.0 are."
    return f"Cannot listen on {host}:{port}: {error.strerror}."
