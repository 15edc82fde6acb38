"""The pytest plugin: the fixture `start_mesh`.

pytest loads this module wherever eventmesh is installed, so it imports nothing before its use.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

if TYPE_CHECKING:
    from eventmesh.service import Service
    from eventmesh.testing.mesh import TestMesh

StartMesh: TypeAlias = "Callable[..., Awaitable[TestMesh]]"


def _fixture() -> Callable[[Callable[[], AsyncGenerator[StartMesh]]], object]:
    """Return the decorator that makes a fixture of an async generator.

    That of pytest-asyncio serves both of its modes. Without it, anyio's plugin takes pytest's.
    """
    try:
        from pytest_asyncio import fixture  # noqa: PLC0415 - need not be installed
    except ImportError:
        return pytest.fixture
    return fixture


@_fixture()
async def start_mesh() -> AsyncGenerator[StartMesh]:
    """Return a function that starts a mesh, which stops when the test ends.

        mesh = await start_mesh(orders, stubs={"mailer.receipt": None})

    It takes what `eventmesh.testing.TestMesh` takes, and raises what entering one raises.
    """
    from eventmesh.testing.mesh import TestMesh  # noqa: PLC0415 - see above

    async with AsyncExitStack() as meshes:

        async def start(*services: Service, **options: Any) -> TestMesh:
            return await meshes.enter_async_context(TestMesh(*services, **options))

        yield start
