"""Runs calls to a mesh in other processes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

from eventmesh.client import Client
from eventmesh.model.settings import Settings, scheme_of

T = TypeVar("T")


def with_client(url: str, use: Callable[[Client], Awaitable[T]]) -> T:
    """Return what `use` returns for a client of the mesh at `url`, in an event loop of its own.

    It authenticates with the token or the access key of the settings. Raises what the client
    raises.
    """
    settings = Settings.from_environment(os.environ)
    credentials = {
        "token": settings.token,
        "access_key": settings.access_key_id,
        "secret_key": settings.secret_access_key,
    }
    if scheme_of(url) not in ("http", "https"):
        credentials = {}  # A broker knows its user by the URL.

    async def run() -> T:
        async with Client(url, **credentials) as client:
            return await use(client)

    return asyncio.run(run())
