"""What makes two requests the same one, and what is kept of the answer to it."""

from uuid import UUID

import pytest
from pydantic import BaseModel

from eventmesh import Context, DeclarationError, Event, PayloadInvalid, Problem, Service, on
from eventmesh.engine.idempotency import (
    MAX_ANSWER,
    MAX_KEY,
    build_key_reader,
    dump_answer,
    is_answer,
    load_answer,
)
from eventmesh.model.errors import FunctionError
from eventmesh.model.invocation import SYNC, HttpRequest, Invocation
from eventmesh.model.result import Result


class Customer(BaseModel):
    id: UUID | None = None


class Order(BaseModel):
    id: str = ""
    customer: Customer = Customer()


def declare(handler, *triggers, **options):
    service = Service("orders")
    return service.function(*triggers, name="place", **options)(handler).spec


async def place(order: Order, ctx: Context) -> None: ...


def read(spec, payload=b"{}", principal="token:ada", key=None, target="/orders", method="POST"):
    http = None
    if spec.triggers:
        headers = {} if key is None else {"Idempotency-Key": key}
        template = spec.triggers[0].template
        http = HttpRequest(template, method, target, {}, {}, headers)
    invocation = Invocation(
        "orders.place", "1", payload, 0.0, mode=SYNC, http=http, principal=principal
    )
    return build_key_reader(spec)(invocation)


ROUTE = on.post("/orders", idempotent=True)


def test_reads_nothing_of_a_function_without_keys():
    assert build_key_reader(declare(place, on.post("/orders"))) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"key": "a"}, {"key": "b"}),
        ({"key": "a", "principal": "token:ada"}, {"key": "a", "principal": "token:eve"}),
        ({"key": "ab", "principal": "c"}, {"key": "b", "principal": "ca"}),
    ],
)
def test_keys_of_one_caller_are_its_own(one, other):
    spec = declare(place, ROUTE)
    assert read(spec, **one).scope != read(spec, **other).scope


def test_a_header_and_a_field_are_different_keys():
    spec = declare(place, ROUTE, idempotency_key="id")
    by_header, by_field = read(spec, key="7"), read(spec, b'{"id": "7"}')
    assert by_header.by_header
    assert not by_field.by_header
    assert by_header.scope != by_field.scope


@pytest.mark.parametrize(
    "other", [{"payload": b'{"id": "8"}'}, {"target": "/orders?dry=1"}, {"target": "/other"}]
)
def test_a_request_is_its_method_path_query_and_body(other):
    spec = declare(place, ROUTE)
    first = read(spec, b"{}", key="a")
    assert read(spec, b"{}", key="a") == first
    different = read(spec, **{"payload": b"{}", "key": "a", **other})
    assert different.scope == first.scope
    assert different.fingerprint != first.fingerprint


def test_a_quoted_key_is_a_bare_one():
    spec = declare(place, ROUTE)
    assert read(spec, key='"8e03978e-40d5"') == read(spec, key="8e03978e-40d5")
    assert read(spec, key='"a \\" b"').scope != read(spec, key='"a b"').scope


@pytest.mark.parametrize("key", ["a b", "ä", "x" * (MAX_KEY + 1), '""', '"', 'a"b"', '"a\\b"'])
def test_refuses_a_header_that_is_no_key(key):
    with pytest.raises(Problem) as raised:
        read(declare(place, ROUTE), key=key)
    assert raised.value.status == 400


def test_a_route_may_require_a_key():
    assert read(declare(place, ROUTE)) is None
    with pytest.raises(Problem, match="400 the request has no Idempotency-Key"):
        read(declare(place, on.post("/orders", idempotent="required")))


def test_a_key_is_a_field_of_the_payload():
    spec = declare(place, idempotency_key="customer.id")
    key = b'{"customer": {"id": "8e03978e-40d5-43e8-bc93-6894a57f9324"}}'
    spaced = b'{ "customer":{"id":"8e03978e-40d5-43e8-bc93-6894a57f9324"}}'
    assert read(spec, key) == read(spec, spaced)
    assert read(spec, b"{}") is None
    assert read(spec, b'{"customer": {}}') is None
    with pytest.raises(PayloadInvalid):
        read(spec, b'{"customer": {"id": "no UUID"}}')


def test_a_key_is_what_a_function_returns():
    spec = declare(place, idempotency_key=lambda order: f"order-{order.id}" if order.id else None)
    assert read(spec, b'{"id": "7"}').scope == read(spec, b'{"id": "7", "more": 1}').scope
    assert read(spec, b"{}") is None


def test_a_key_is_one_of_several_fields():
    async def pay(order_id: str, amount: int = 0) -> None: ...

    spec = declare(pay, idempotency_key="order_id")
    assert (
        read(spec, b'{"order_id": "7"}').scope
        == read(spec, b'{"order_id": "7", "amount": 1}').scope
    )


def test_a_key_is_in_the_data_of_an_event():
    async def place(event: Event[Order]) -> None: ...

    spec = declare(place, idempotency_key="id")
    assert read(spec, b'{"id": "7"}') is not None
    assert read(spec, b'{"id": ""}') is None


def test_a_key_may_come_from_the_path():
    async def pay(order_id: str) -> None: ...

    spec = declare(pay, on.put("/orders/{order_id}/payment"), idempotency_key="order_id")

    def key_of(order_id):
        http = HttpRequest(spec.triggers[0].template, "PUT", "/", {"order_id": order_id}, {}, {})
        return build_key_reader(spec)(Invocation("orders.place", "1", b"", 0.0, http=http))

    assert key_of("7") == key_of("7")
    assert key_of("7").scope != key_of("8").scope


def nothing(): ...


async def items(order: Order):
    yield 1


async def batch(orders: list[Order]) -> None: ...


@pytest.mark.parametrize(
    ("handler", "triggers", "options", "advice"),
    [
        (place, [], {"idempotency_key": "nothing"}, "its payload has no field 'nothing'"),
        (place, [], {"idempotency_key": "a b"}, "write a field of the payload"),
        (place, [], {"idempotency_key": 7}, "write a field of the payload"),
        (nothing, [], {"idempotency_key": "id"}, "it takes no payload"),
        (items, [], {"idempotency_key": "id"}, "it yields its items"),
        (batch, [on.queue("q", batch=2)], {"idempotency_key": "id"}, "it takes batches"),
        (items, [ROUTE], {}, "which are not kept"),
    ],
)
def test_refuses_what_cannot_be_run_once(handler, triggers, options, advice):
    with pytest.raises(DeclarationError, match=advice):
        declare(handler, *triggers, **options)


@pytest.mark.parametrize(
    ("method", "options", "advice"),
    [
        ("get", {"idempotent": True}, "a GET changes nothing"),
        ("post", {"idempotent": "always"}, "write True, 'required'"),
        ("post", {"idempotent": True, "mode": "async"}, "idempotency_key="),
    ],
)
def test_refuses_routes_that_cannot_be_run_once(method, options, advice):
    with pytest.raises(DeclarationError, match=advice):
        getattr(on, method)("/orders", **options)


@pytest.mark.parametrize(
    ("result", "kept"),
    [
        (Result(b"1"), True),
        (Result(b"1", status=404), True),
        (Result(b"1", status=503), False),
        (Result(b"", error=Problem(409)), True),
        (Result(b"", error=Problem(503)), False),
        (Result(b"", error=FunctionError("ValueError", "no")), False),
        (Result(b"", error=PayloadInvalid("no")), False),
    ],
)
def test_failures_are_not_kept(result, kept):
    assert is_answer(result) is kept


def test_gives_a_result_again():
    headers = {"X-Total": "7", "Set-Cookie": ["a=1", "b=2"]}
    result = Result(b"a\nb", content_type="text/plain", status=201, headers=headers)
    assert load_answer(dump_answer(result)) == Result(
        b"a\nb",
        content_type="text/plain",
        status=201,
        headers={**headers, "Idempotent-Replayed": "true"},
    )


def test_gives_a_problem_again():
    problem = Problem(409, "sold out", title="T", type="/t", headers={"X-A": "1"}, left=0)
    error = load_answer(dump_answer(Result(b"", error=problem))).error
    assert (error.status, error.detail, error.title, error.type) == (409, "sold out", "T", "/t")
    assert error.extensions == {"left": 0}
    assert error.headers == {"X-A": "1", "Idempotent-Replayed": "true"}


def test_keeps_no_answer_that_is_too_large():
    error = load_answer(dump_answer(Result(b"x" * MAX_ANSWER))).error
    assert error.status == 409
    assert "too large to be kept" in error.detail
