"""Listening sockets: bound here, or inherited from the parent process."""

from __future__ import annotations

import socket
from dataclasses import replace

from eventmesh.model.access.addresses import is_loopback
from eventmesh.model.errors import SettingsError
from eventmesh.model.settings import Settings, variable


def api_settings(settings: Settings) -> Settings | None:
    """The settings of the listener that the APIs have for themselves; None if they have none."""
    if settings.api_port is None:
        return None
    return replace(
        settings,
        http_host=settings.api_host,
        http_port=settings.api_port,
        http_fd=settings.api_fd,
        # At a local address it answers for local names, whatever names the routes have.
        allowed_hosts=() if is_loopback(settings.api_host) else settings.allowed_hosts,
    )


def bind_socket(settings: Settings) -> socket.socket:
    """Bind a socket to the address of the settings. It does not listen yet.

    Raises SettingsError where the address cannot be used.
    """
    if settings.http_fd is not None:
        return inherit_socket(settings.http_fd)
    host, port = settings.http_host, settings.http_port
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise address_error(settings, error) from error
    return bound


def inherit_socket(descriptor: int) -> socket.socket:
    """Take over the socket with that descriptor; child processes do not inherit it."""
    try:
        inherited = socket.socket(fileno=descriptor)
    except OSError as error:
        raise SettingsError(
            f"{variable('http_fd')}={descriptor} is not a socket ({error.strerror or error}): "
            "leave it unset, or pass a bound socket under that number"
        ) from error
    inherited.set_inheritable(False)
    return inherited


def address_error(settings: Settings, error: OSError) -> SettingsError:
    """Build the error for an address that cannot be listened on, with advice."""
    return SettingsError(
        f"HTTP cannot listen on {settings.http_host}:{settings.http_port} "
        f"({error.strerror or error}): stop the process that listens there, or choose another "
        f"address with {variable('http_host')} and {variable('http_port')}"
    )
