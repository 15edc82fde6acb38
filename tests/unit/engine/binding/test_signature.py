"""What compile_signature reads from a handler, and what it refuses."""

from __future__ import annotations

import functools
import re
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import pytest
from pydantic import BaseModel, Field

from eventmesh.engine.binding import Header, Query, compile_signature
from eventmesh.engine.context import Context
from eventmesh.model.errors import DeclarationError
from eventmesh.model.event import Event
from eventmesh.model.result import Response

if TYPE_CHECKING:
    from nowhere import Missing


class Order(BaseModel):
    id: str


class Unfinished(BaseModel):
    later: NotYetDefined  # noqa: F821


class Pool: ...


class PostgresPool(Pool): ...


class SqlitePool(Pool): ...


class Store(Protocol):
    def get(self, key: str) -> str: ...


class RedisStore(Store): ...


class OwnContext(Context): ...


async def place_order(order: Order, ctx: Context, pool: Pool, note: str = "none") -> Order:
    return order


def test_each_parameter_gets_its_kind():
    signature = compile_signature(place_order, [Pool])

    assert [(one.name, one.kind, one.required) for one in signature.parameters] == [
        ("order", "payload", True),
        ("ctx", "context", True),
        ("pool", "resource", True),
        ("note", "payload", False),
    ]
    assert signature.context == "ctx"
    assert signature.resources == {"pool": Pool}
    assert signature.event is None
    assert signature.parameters[3].default == "none"


def test_without_context_event_and_resources_there_are_none():
    def handle(order: Order): ...

    signature = compile_signature(handle)

    assert (signature.context, signature.event, signature.resources) == (None, None, {})


def test_annotations_are_resolved_where_the_function_was_written():
    class Local(BaseModel):
        id: str

    def declare():
        def handle(order: Local) -> list[Local]: ...

        return compile_signature(handle)

    signature = declare()

    assert signature.parameters[0].annotation is Local
    assert signature.result_type == list[Local]


def test_a_local_name_is_found_in_the_closure_when_its_function_has_ended():
    def make():
        class Local(BaseModel):
            id: str

        def handle(order: Local):
            return Local, recursion

        def recursion(): ...

        return handle, Local

    handle, local = make()

    assert compile_signature(handle).parameters[0].annotation is local


def test_a_function_that_names_itself_is_compiled_before_its_name_is_assigned():
    def declare(function):
        return compile_signature(function)

    @declare
    def handle(order: Order):
        return handle

    assert handle.parameters[0].annotation is Order


@pytest.mark.parametrize("wanted", [Context, OwnContext, Context | None])
def test_a_context_is_known_by_its_class(wanted):
    def handle(ctx=None): ...

    handle.__annotations__ = {"ctx": wanted}

    assert compile_signature(handle).context == "ctx"


@pytest.mark.parametrize(
    ("wanted", "resources", "injected"),
    [
        (Pool, [Pool], Pool),
        (Pool, [SqlitePool], SqlitePool),
        (Pool, [PostgresPool, Pool, SqlitePool], Pool),
        (Pool | None, [Pool], Pool),
        (Annotated[Pool, "the main one"], [Pool], Pool),
        (Store, [Pool, RedisStore], RedisStore),
    ],
)
def test_a_resource_is_known_by_its_type_or_one_it_derives_from(wanted, resources, injected):
    def handle(pool): ...

    handle.__annotations__ = {"pool": wanted}

    assert compile_signature(handle, resources).resources == {"pool": injected}


def test_of_several_derived_resources_none_is_picked():
    def handle(pool: Pool): ...

    with pytest.raises(DeclarationError, match=r"PostgresPool and .*SqlitePool.*name one of them"):
        compile_signature(handle, [PostgresPool, SqlitePool])


@pytest.mark.parametrize("annotation", [object, Any])
def test_a_parameter_for_anything_is_no_resource(annotation):
    def handle(thing): ...

    handle.__annotations__ = {"thing": annotation}

    assert compile_signature(handle, [Pool]).resources == {}


class Handlers:
    def method(self, order: Order) -> int: ...

    async def __call__(self, order: Order) -> str: ...


def decorated(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def unannotated(order): ...


async def coroutine(order: Order) -> str: ...


async def async_stream(order: Order) -> AsyncIterator[Order]:
    yield order


def stream(order: Order) -> Iterator[int]:
    yield 1


def bare_stream(order: Order):
    yield 1


@pytest.mark.parametrize(
    ("handler", "is_async", "is_stream", "result_type", "item_type"),
    [
        pytest.param(coroutine, True, False, str, str, id="coroutine"),
        pytest.param(Handlers(), True, False, str, str, id="object"),
        pytest.param(Handlers().method, False, False, int, int, id="method"),
        pytest.param(decorated(coroutine), True, False, str, str, id="decorated"),
        pytest.param(unannotated, False, False, Any, Any, id="unannotated"),
        pytest.param(lambda order: order, False, False, Any, Any, id="lambda"),
        pytest.param(async_stream, True, True, list[Order], Order, id="async-generator"),
        pytest.param(stream, False, True, list[int], int, id="generator"),
        pytest.param(bare_stream, False, True, list[Any], Any, id="unannotated-generator"),
    ],
)
def test_kinds_of_handlers(handler, is_async, is_stream, result_type, item_type):
    signature = compile_signature(handler)

    assert [one.name for one in signature.parameters] == ["order"]
    assert signature.is_async is is_async
    assert signature.is_stream is is_stream
    assert signature.result_type == result_type
    assert signature.item_type == item_type
    assert signature.result_adapter.json_schema() is not None


@pytest.mark.parametrize(
    ("returned", "result_type"),
    [(Response, Any), (Order | Response, Order), (None, type(None)), (Order | None, Order | None)],
)
def test_a_response_stands_for_the_value_in_it(returned, result_type):
    def handle(): ...

    handle.__annotations__ = {"return": returned}

    assert compile_signature(handle).result_type == result_type


def test_descriptions_come_from_the_marker_or_the_field():
    def handle(
        a: Annotated[str, Query(description="of the marker")],
        b: Annotated[int, Field(description="of the field", ge=1)],
        c: int,
    ): ...

    described = {one.name: one.description for one in compile_signature(handle).parameters}

    assert described == {"a": "of the marker", "b": "of the field", "c": ""}


def positional(order: Order, /): ...


def several(*orders: Order): ...


def keywords(**fields: int): ...


def two_contexts(a: Context, b: Context): ...


def two_events(a: Event, b: Event[Order]): ...


def event_and_more(event: Event, order: Order): ...


def arbitrary(pool: Pool): ...


def arbitrary_inside(pools: dict[str, Pool]): ...


def arbitrary_event(event: Event[Pool]): ...


def arbitrary_result() -> Pool: ...


def returned_stream() -> AsyncIterator[int]: ...


def unresolved(order: Missing): ...


def unresolved_attribute(order: functools.Missing): ...


def unfinished(order: Unfinished): ...


def no_annotation(order: "not a type"): ...  # noqa: F722


def no_type(order: 3): ...


def listed_events(events: list[Event[Order]]): ...


def optional_contexts(contexts: list[Context]): ...


def marker_class(token: Annotated[str, Header]): ...


def marker_inside(token: Annotated[str, Header()] | None): ...


def two_markers(token: Annotated[str, Header(), Query()]): ...


def marker_as_default(token: str = Header()): ...


def field_as_default(count: int = Field(ge=1)): ...


def field_alias(count: Annotated[int, Field(alias="n")]): ...


def field_default(count: Annotated[int, Field(default=3)]): ...


@pytest.mark.parametrize(
    ("handler", "advice"),
    [
        (positional, "positional(order: .*Order): remove the '/'"),
        (several, "several(orders: .*Order): write one parameter annotated as a list"),
        (keywords, "keywords(fields: int): write one parameter annotated as a dict"),
        (two_contexts, "two_contexts() asks for the context 2 times, as a and b: keep one"),
        (two_events, "two_events() asks for the event 2 times"),
        (event_and_more, "has both the event 'event' and 'order'.* read event.data"),
        (arbitrary, "arbitrary(pool: .*Pool): .* @service.resource before .* pydantic model"),
        (arbitrary_inside, "arbitrary_inside(pools: dict[str, .*Pool]): JSON cannot be converted"),
        (arbitrary_event, "arbitrary_event(event: .*Event[.*Pool]): JSON cannot be converted"),
        (arbitrary_result, "arbitrary_result() -> .*Pool: it has no JSON form"),
        (returned_stream, "returned_stream() -> .*AsyncIterator[int]: .* yield them"),
        (unresolved, "unresolved() .* name 'Missing', which is not defined: .* TYPE_CHECKING"),
        (unresolved_attribute, "unresolved_attribute() has an annotation that cannot be read"),
        (
            unfinished,
            "unfinished(order: .*Unfinished): .* needs 'NotYetDefined', which is not defined",
        ),
        (no_annotation, "no_annotation() has an annotation that cannot be read"),
        (no_type, "no_type(order: 3): "),
        (
            listed_events,
            "listed_events(events: .*): Event cannot be a part of another type: .* list[...]",
        ),
        (
            optional_contexts,
            "optional_contexts(contexts: .*): Context cannot be a part of another type",
        ),
        (marker_class, "marker_class(token: .*): a marker is an object: write Header()"),
        (marker_inside, "marker_inside(token: .*): put the marker outermost"),
        (two_markers, "two_markers(token: .*): it can come from one part of the request only"),
        (marker_as_default, "marker_as_default(token: str): .* Annotated[type, marker]"),
        (field_as_default, "field_as_default(count: int): .* Annotated[type, marker]"),
        (field_alias, "field_alias(count: .*): an alias of Field() is for the field of a model"),
        (field_default, "field_default(count: .*): write the default after the annotation"),
        (functools.partial(stream), "write a function that calls it"),
        (Order, "write a function that calls it"),
        (min, "write a function that calls it"),
        (len, "len(obj: "),
        ("orders", "'orders' cannot be a function of a service"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_cannot_work_is_refused_with_advice(handler, advice):
    pattern = ".*".join(re.escape(part) for part in advice.split(".*"))

    with pytest.raises(DeclarationError, match=pattern):
        compile_signature(handler)
