from datetime import date
from typing import Annotated

import pytest
from pydantic import BaseModel

from eventmesh.engine.binding import Body, Header, compile_signature
from eventmesh.model.errors import PayloadInvalid
from eventmesh.model.invocation import HttpRequest, Invocation, RouteTemplate


class Order(BaseModel):
    sku: str
    quantity: int = 1


class Filter(BaseModel):
    color: str = "red"
    sizes: list[int] = []


def stored(handler, path=None, query=None, headers=None, body=b"", has_body=True):
    """The stored payload of a request, and what the handler gets of it when it is run by name."""
    signature = compile_signature(handler)
    route = RouteTemplate("POST /", tuple(path or ()), has_body)
    http = HttpRequest(route, "POST", "/", path or {}, query or {}, headers or {})
    request = Invocation("a.b", "id", body, 0.0, http=http)
    arguments = signature.build_http_binder(route)(request)
    payload = signature.build_async_payload(route)(request)
    by_name = signature.build_binder()(Invocation("a.b", "id", payload, 0.0))
    return payload, by_name, arguments


def test_a_body_alone_is_stored_as_it_came():
    def handle(order: Order): ...

    body = b'{"sku": "a", "extra": 12345678901234567890123}'
    payload, by_name, _ = stored(handle, body=body)

    assert payload == body
    assert by_name == {"order": Order(sku="a")}


def test_path_query_and_headers_become_part_of_the_payload():
    def handle(
        order_id: int, order: Order, day: date, token: Annotated[str, Header("x-token")]
    ): ...

    payload, by_name, arguments = stored(
        handle,
        path={"order_id": "17"},
        query={"day": ["2026-11-22"]},
        headers={"x-token": "t"},
        body=b'{"sku": "a", "more": 1.50}',
    )

    assert by_name == arguments
    assert b'"order":{"sku": "a", "more": 1.50}' in payload


def test_fields_of_the_body_are_stored_under_the_names_of_their_parameters():
    def handle(
        order_id: int, sku: Annotated[str, Body("SKU")], quantity: Annotated[int, Body()]
    ): ...

    payload, by_name, arguments = stored(
        handle, path={"order_id": "17"}, body=b'{"SKU": "a", "quantity": 3, "other": 1}'
    )

    assert by_name == arguments == {"order_id": 17, "sku": "a", "quantity": 3}
    assert b"other" not in payload


def test_plain_fields_of_a_body_are_stored():
    def handle(sku: str, quantity: int = 1): ...

    _, by_name, arguments = stored(handle, body=b'{"sku": "a"}')

    assert by_name == arguments == {"sku": "a", "quantity": 1}


def test_what_was_not_given_has_its_default_when_it_is_run():
    def handle(order_id: int, order: Order | None = None, loud: bool = False): ...

    payload, by_name, _ = stored(handle, path={"order_id": "17"})

    assert payload == b'{"order_id":17}'
    assert by_name == {"order_id": 17, "order": None, "loud": False}


def test_a_query_that_is_the_payload_as_a_whole_is_stored():
    def handle(wanted: Filter): ...

    _, by_name, arguments = stored(
        handle, query={"color": ["blue"], "sizes": ["1", "2"]}, has_body=False
    )

    assert by_name == arguments == {"wanted": Filter(color="blue", sizes=[1, 2])}


def test_plain_bytes_are_stored_as_they_came():
    def handle(data: bytes): ...

    payload, by_name, _ = stored(handle, body=b"\xff\x00")

    assert payload == b"\xff\x00"
    assert by_name == {"data": b"\xff\x00"}


def test_bytes_beside_others_are_stored_as_text_or_refused():
    def handle(name: str, data: bytes): ...

    _, by_name, _ = stored(handle, path={"name": "n"}, body=b"text")
    assert by_name == {"name": "n", "data": b"text"}

    with pytest.raises(PayloadInvalid, match="should be text"):
        stored(handle, path={"name": "n"}, body=b"\xff")


def test_a_handler_that_takes_nothing_has_nothing_stored():
    def handle(): ...

    assert stored(handle, body=b"{}")[0] == b""
