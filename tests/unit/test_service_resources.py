"""Declaring what lives as long as a service, and asking for it."""

from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, NewType, TypeVar

import pytest

from eventmesh.model.errors import DeclarationError
from eventmesh.service import Service
from eventmesh.testing import TestMesh

T = TypeVar("T")


class Pool:
    """A resource that is its own context manager."""

    def __init__(self, size: int = 3) -> None:
        self.size = size

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass


@pytest.fixture
def app():
    return Service("app")


async def opened(app, kind, **needs):
    """What the resource of that type gives when it is opened."""
    (resource,) = [one for one in app.resources if one.kind == kind]
    async with resource.open(**needs) as given:
        return given


async def test_a_class_that_is_a_context_manager(app):
    assert app.resource(Pool) is Pool
    assert isinstance(await opened(app, Pool), Pool)


@pytest.mark.parametrize("returns", [AsyncIterator, AsyncGenerator], ids=lambda one: one.__name__)
async def test_an_async_generator_that_yields_it(app, returns):
    closed = []

    @app.resource
    async def pool() -> returns[Pool]:
        yield Pool(9)
        closed.append(True)

    assert (await opened(app, Pool)).size == 9
    assert closed == [True]


async def test_functions_that_return_it(app):
    @app.resource
    def size() -> int:
        return 9

    @app.resource
    async def pool(size: int) -> Pool:
        return Pool(size)

    @app.resource
    def names(pool: Pool) -> list[str]:
        return [str(pool.size)]

    assert await opened(app, int) == 9
    made = await opened(app, Pool, size=9)
    assert (made.size, await opened(app, list[str], pool=made)) == (9, ["9"])
    assert [one.needs for one in app.resources] == [{}, {"size": int}, {"pool": Pool}]


async def test_a_resource_may_need_another(app):
    app.resource(Pool)

    @app.resource
    @dataclass
    class Store:
        pool: Pool
        name: str = "store"

        async def __aenter__(self):
            return self

        async def __aexit__(self, *_): ...

    @app.resource
    async def cache(store: Store, pool: Pool | None = None) -> AsyncIterator[dict[str, Store]]:
        yield {pool.size: store}

    assert [one.needs for one in app.resources] == [
        {},
        {"pool": Pool},
        {"store": Store, "pool": Pool},
    ]


def test_a_resource_may_be_local_to_a_function_whose_annotations_are_strings(app):
    @app.resource
    class Local:
        def __init__(self, size: "int" = 1) -> "None": ...

        async def __aenter__(self): ...

        async def __aexit__(self, *_): ...

    @app.resource
    async def made(local: "Local") -> "AsyncIterator[set[Local]]":
        yield {local}

    @app.function
    async def use(local: "Local", others: "set[Local]") -> None: ...

    assert app.resources[1].kind == set[Local]
    assert use.signature.resources == {"local": Local, "others": set[Local]}


def test_a_local_dataclass_whose_annotations_are_strings(app):
    app.resource(Pool)

    class Inner(Pool):
        pass

    app.resource(Inner)

    @app.resource
    @dataclass
    class Store:
        inner: "Inner"

        async def __aenter__(self): ...

        async def __aexit__(self, *_): ...

    assert app.resources[2].needs == {"inner": Inner}


def test_a_class_without_an_init_of_its_own_needs_nothing(app):
    class Base(Generic[T]):
        def __init__(self, *args, **kwargs): ...

        async def __aenter__(self): ...

        async def __aexit__(self, *_): ...

    class Derived(Base[int]):
        pass

    app.resource(Derived)
    assert app.resources[0].needs == {}


async def test_a_class_that_gives_something_else_when_entered_is_refused_when_opened(app):
    @app.resource
    class Session:
        async def __aenter__(self):
            return "a cursor"

        async def __aexit__(self, *_): ...

    with pytest.raises(
        DeclarationError, match=r"resource Session gave a str, .* declare an async gen"
    ):
        await opened(app, Session)


@pytest.mark.parametrize("kind", [Pool, list[int]], ids=repr)
def test_one_type_is_one_resource(app, kind):
    @app.resource
    async def one() -> AsyncIterator[kind]:
        yield None

    async def two() -> AsyncIterator[kind]:
        yield None

    with pytest.raises(DeclarationError, match=r"app has two resources of type .*(Pool|list\[int)"):
        app.resource(two)


async def test_new_types_tell_resources_of_one_class_apart(app):
    primary, replica = NewType("primary", Pool), NewType("replica", Pool)

    @app.resource
    async def first() -> AsyncIterator[primary]:
        yield Pool(1)

    @app.resource
    def second(other: primary) -> replica:
        return Pool(other.size + 1)

    @app.function
    async def use(pool: replica) -> int:
        return pool.size

    async with TestMesh(app) as mesh:
        assert await mesh.invoke(use) == 2


def test_a_resource_is_declared_before_what_asks_for_it(app):
    async def cache(pool: Pool) -> AsyncIterator[dict[str, int]]:
        yield {}

    with pytest.raises(DeclarationError, match="'pool', which is not a resource: declare one"):
        app.resource(cache)
    with pytest.raises(DeclarationError, match=r"declare it with @service.resource before"):

        @app.function
        async def use(pool: Pool) -> None: ...


class NoManager:
    pass


async def plain() -> AsyncIterator[int]:
    return 3


def generator() -> AsyncIterator[int]:
    yield 3


@asynccontextmanager
async def managed() -> AsyncIterator[int]:
    yield 3


async def silent():
    yield 3


async def vague() -> AsyncIterator:
    yield 3


def unannotated():
    return Pool()


def of_nothing() -> None: ...


def of_anything() -> Any: ...


def opens() -> AbstractAsyncContextManager[Pool]: ...


def yields() -> Generator[Pool]:
    yield Pool()


async def wrong() -> int:
    yield 3


async def unknown() -> "AsyncIterator[NoSuchThing]":  # noqa: F821
    yield 3


@pytest.mark.parametrize(
    ("source", "advice"),
    [
        (NoManager, "give it __aenter__ and __aexit__"),
        (plain, "write 'async def plain"),
        (generator, "write 'async def generator"),
        (managed, "without @asynccontextmanager"),
        (silent, "annotate it with '-> AsyncIterator"),
        (unannotated, "annotate it with '-> Pool'"),
        (of_nothing, "annotate it with '-> Pool'"),
        (of_anything, "annotate it with '-> Pool'"),
        (opens, "write 'async def opens"),
        (yields, "write 'async def yields"),
        (vague, "annotate it with '-> AsyncIterator"),
        (wrong, "annotate it with '-> AsyncIterator"),
        (unknown, "'NoSuchThing', which is not defined"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_what_cannot_be_opened_is_refused(app, source, advice):
    with pytest.raises(DeclarationError, match=advice):
        app.resource(source)
    assert app.resources == []
