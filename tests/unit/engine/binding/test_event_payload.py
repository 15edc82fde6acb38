"""How the payload of an invocation becomes the event that a handler takes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from eventmesh.engine.binding import compile_signature
from eventmesh.model.errors import PayloadInvalid
from eventmesh.model.event import Event, event_headers
from eventmesh.model.invocation import Invocation

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


class Order(BaseModel):
    id: str
    items: list[str] = []


def bind(handler: Callable[..., Any], payload: bytes, **attributes: Any) -> dict[str, Any]:
    binder = compile_signature(handler).build_binder()
    return binder(Invocation("shop.f", "id-1", payload, NOON.timestamp(), **attributes))


def of_event(event: Event): ...


def of_orders(event: Event[Order]): ...


def of_raw(event: Event[bytes]): ...


def of_optional_event(event: Event[Order] | None = None): ...


HEADERS = event_headers("/shop", NOON.timestamp(), subject="o1") | {"cloudEvents:tenant": "acme"}


@pytest.mark.parametrize(
    ("handler", "data"),
    [
        (of_event, {"id": "o1"}),
        (of_orders, Order(id="o1")),
        (of_optional_event, Order(id="o1")),
        (of_raw, b'{"id":"o1"}'),
    ],
)
def test_a_handler_of_events_gets_the_whole_event(handler, data):
    arguments = bind(handler, b'{"id":"o1"}', type="order.placed", headers=HEADERS)

    event = Event("order.placed", data, "id-1", "/shop", NOON, "o1", extensions={"tenant": "acme"})
    assert arguments == {"event": event}


@pytest.mark.parametrize(
    ("caller", "payload", "data", "source"),
    [
        ("", b'{"id":"o1"}', {"id": "o1"}, "/client"),
        ("web.page", b"", None, "/web.page"),
    ],
)
def test_an_invocation_is_an_event_to_a_handler_of_events(caller, payload, data, source):
    arguments = bind(of_event, payload, caller=caller)

    assert arguments == {"event": Event("eventmesh.invocation", data, "id-1", source, NOON)}


def test_the_data_of_an_event_is_validated():
    with pytest.raises(PayloadInvalid) as caught:
        bind(of_orders, b'{"items":1}')
    assert [(error["loc"], error["type"]) for error in caught.value.errors] == [
        (("id",), "missing"),
        (("items",), "list_type"),
    ]


def test_an_event_whose_time_is_none_does_not_fit():
    headers = {"cloudEvents:time": "yesterday"}

    with pytest.raises(PayloadInvalid, match=r"the event does not fit: time: "):
        bind(of_event, b"{}", type="order.placed", headers=headers)
