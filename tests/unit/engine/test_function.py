"""A declared function: it still is the plain function, and knows its limits."""

import asyncio
import inspect

import pytest

from eventmesh.service import Service


@pytest.fixture
def app():
    return Service("app")


async def test_it_calls_like_the_plain_function(app):
    @app.function
    async def add(a: int, b: int = 2, *, c: int = 3) -> int:
        """Adds."""
        return a + b + c

    assert await add(1) == 6
    assert await add(1, 1, c=1) == 3
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        add()


def test_a_plain_function_needs_no_loop(app):
    @app.function
    def add(a: int, b: int) -> int:
        return a + b

    assert add(1, b=2) == 3


async def test_what_yields_still_yields(app):
    @app.function
    async def count(to: int):
        for number in range(to):
            yield number

    assert [number async for number in count(3)] == [0, 1, 2]


def test_it_looks_like_the_plain_function(app):
    async def place(order: int) -> None:
        """Places an order."""

    function = app.function(place)
    assert (function.__name__, function.__doc__) == ("place", "Places an order.")
    assert function.__module__ == place.__module__
    assert inspect.signature(function) == inspect.signature(place)
    assert inspect.unwrap(function) is place
    assert repr(function) == "<function app.place>"


def test_it_belongs_to_a_service(app):
    @app.function(name="place")
    async def handler() -> list[int]:
        return []

    assert (handler.spec.service, handler.full_name) == ("app", "app.place")
    assert handler.result_type == list[int]


@pytest.mark.parametrize(
    ("limits", "places"),
    [
        ({}, 100),
        ({"concurrency": 5}, 5),
        ({"concurrency": 5, "reserved_concurrency": 3}, 3),
        ({"concurrency": 5, "reserved_concurrency": 9}, 5),
    ],
)
def test_a_process_has_no_more_places_than_the_mesh(app, limits, places):
    async def handler() -> None: ...

    assert app.function(**limits)(handler).spec.local_concurrency == places


def test_declaring_needs_no_loop_and_starts_none(app):
    async def handler() -> None: ...

    app.function(handler)
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
