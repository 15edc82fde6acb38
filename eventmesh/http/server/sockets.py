"""Sockets to listen at: bound here, or inherited from whoever started this process."""

from __future__ import annotations

import socket

from eventmesh.model.errors import SettingsError
from eventmesh.model.settings import Settings, variable


def bound_socket(settings: Settings) -> socket.socket:
    """The socket of the settings' address. Nobody is let in before somebody listens at it.

    Raises SettingsError where that cannot be.
    """
    if settings.http_fd is not None:
        return inherited_socket(settings.http_fd)
    host, port = settings.http_host, settings.http_port
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise unusable(settings, error) from error
    return bound


def inherited_socket(descriptor: int) -> socket.socket:
    """The socket that is open under that number, from now on for this process alone."""
    try:
        inherited = socket.socket(fileno=descriptor)
    except OSError as error:
        raise SettingsError(
            f"{variable('http_fd')}={descriptor} is no socket ({error.strerror or error}): leave "
            "it unset, or have one passed on under that number"
        ) from error
    inherited.set_inheritable(False)
    return inherited


def unusable(settings: Settings, error: OSError) -> SettingsError:
    """That the settings' address cannot be listened on, and what to do."""
    return SettingsError(
        f"HTTP cannot listen on {settings.http_host}:{settings.http_port} "
        f"({error.strerror or error}): stop what listens there, or choose another address with "
        f"{variable('http_host')} and {variable('http_port')}"
    )
