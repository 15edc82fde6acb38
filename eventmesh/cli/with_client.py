"""Runs calls to a mesh in other processes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

from eventmesh.client import Client
from eventmesh.model.settings import Settings, scheme_of

T = TypeVar("T")


def is_http(url: str) -> bool:
    """Whether the mesh at `url` is reached by a process that serves it, and not by its broker."""
    return scheme_of(url) in ("http", "https")


def read_credentials(url: str) -> dict[str, str | None]:
    """Return the token or the access key of the settings, for who serves the mesh at `url`."""
    if not is_http(url):
        return {}  # A broker knows its user by the URL.
    settings = Settings.from_environment(os.environ)
    return {
        "token": settings.token,
        "access_key": settings.access_key_id,
        "secret_key": settings.secret_access_key,
    }


def with_client(url: str, use: Callable[[Client], Awaitable[T]]) -> T:
    """Return what `use` returns for a client of the mesh at `url`, in an event loop of its own.

    It authenticates with the token or the access key of the settings. Raises what the client
    raises.
    """
    credentials = read_credentials(url)

    async def run() -> T:
        async with Client(url, **credentials) as client:
            return await use(client)

    return asyncio.run(run())
