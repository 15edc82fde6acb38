"""How the tests get at the examples."""

import importlib.util
import sys
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from eventmesh import Service
from eventmesh.testing import TestMesh

EXAMPLES = Path(__file__).parents[2] / "examples"


class Example:
    """One example: its module, freshly run."""

    def __init__(self, name: str) -> None:
        spec = importlib.util.spec_from_file_location(f"examples.{name}", EXAMPLES / f"{name}.py")
        self.module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = self.module
        spec.loader.exec_module(self.module)

    @property
    def services(self) -> list[Service]:
        """What `eventmesh dev` would run of it."""
        return [one for one in vars(self.module).values() if isinstance(one, Service)]

    def mesh(self, **options) -> TestMesh:
        return TestMesh(*self.services, **options)


@pytest.fixture
def example(request):
    """The example that the test is named after."""
    example = Example(request.function.__name__.removeprefix("test_"))
    yield example
    del sys.modules[example.module.__name__]


@pytest_asyncio.fixture
async def client():
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def logged(caplog):
    """What handlers logged: the messages so far."""
    caplog.set_level("INFO", "eventmesh.function")
    return lambda: [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("eventmesh.function")
    ]
