"""Runs calls to a mesh in other processes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from eventmesh.client import Client

T = TypeVar("T")


def with_client(url: str, use: Callable[[Client], Awaitable[T]]) -> T:
    """Return what `use` returns for a client of the mesh at `url`, in an event loop of its own."""

    async def run() -> T:
        async with Client(url) as client:
            return await use(client)

    return asyncio.run(run())
