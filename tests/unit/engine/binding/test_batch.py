"""How the bodies of a batch become the list that a handler takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from eventmesh.engine.binding import compile_signature
from eventmesh.engine.context import Context
from eventmesh.model.errors import DeclarationError
from eventmesh.model.event import Event


class Invoice(BaseModel):
    id: int


class Pool: ...


def of_models(invoices: list[Invoice], ctx: Context, pool: Pool): ...


def of_sequence(invoices: Sequence[Invoice]): ...


def of_annotated(invoices: Annotated[list[Invoice], Field(description="new ones")]): ...


@pytest.mark.parametrize("handler", [of_models, of_sequence, of_annotated])
def test_each_item_is_validated_by_itself(handler):
    bind = compile_signature(handler, [Pool]).build_batch_binder()

    arguments, indexes, failures = bind([b'{"id":1}', b'{"id":"x"}', b"", b'{"id":"4"}'])

    assert arguments == {"invoices": [Invoice(id=1), Invoice(id=4)]}
    assert indexes == [0, 3]
    assert {
        index: [(error["loc"], error["type"]) for error in failure.errors]
        for index, failure in failures.items()
    } == {1: [(("id",), "int_parsing")], 2: [((), "model_type")]}


def of_bytes(bodies: list[bytes]): ...


def of_numbers(numbers: list[int]): ...


def of_anything(items: list): ...


def unparametrised(items: Sequence): ...


@pytest.mark.parametrize(
    ("handler", "bodies", "arguments"),
    [
        (of_bytes, [b"\xff", b""], {"bodies": [b"\xff", b""]}),
        (of_numbers, [b"1", b'"2"'], {"numbers": [1, 2]}),
        (of_anything, [b'{"a":1}', b""], {"items": [{"a": 1}, None]}),
        (unparametrised, [b"[]"], {"items": [[]]}),
        (of_numbers, [], {"numbers": []}),
    ],
)
def test_items_of_any_type(handler, bodies, arguments):
    batch = compile_signature(handler).build_batch_binder()(bodies)

    assert batch.arguments == arguments
    assert batch.indexes == list(range(len(bodies)))
    assert batch.failures == {}


@given(st.lists(st.integers() | st.text()))
def test_every_item_is_either_good_or_failed(items):
    good = {index: item for index, item in enumerate(items) if isinstance(item, int)}
    bodies = [f'{{"id":{item}}}' if isinstance(item, int) else "{}" for item in items]

    batch = compile_signature(of_sequence).build_batch_binder()([body.encode() for body in bodies])

    assert batch.indexes == list(good)
    assert [invoice.id for invoice in batch.arguments["invoices"]] == list(good.values())
    assert batch.failures.keys() == set(range(len(items))) - good.keys()


def test_each_batch_has_a_list_of_its_own():
    bind = compile_signature(of_numbers).build_batch_binder()

    assert bind([b"1"]).arguments == {"numbers": [1]}
    assert bind([b"2"]).arguments == {"numbers": [2]}


def of_one(invoice: Invoice): ...


def of_dict(invoices: dict[str, Invoice]): ...


def of_two(invoices: list[Invoice], note: str): ...


def of_nothing(ctx: Context): ...


def of_event(event: Event): ...


def of_unknown(payload: Any): ...


@pytest.mark.parametrize(
    ("handler", "advice"),
    [
        (of_one, r"of_one\(invoice: .*Invoice\): a batch is a list: annotate it as list\[...\]"),
        (of_dict, r"of_dict\(invoices: .*\): a batch is a list"),
        (of_event, r"of_event\(event: .*Event\): a batch is a list"),
        (of_unknown, r"of_unknown\(payload: .*Any\): a batch is a list"),
        (of_two, r"of_two\(\) cannot take batches: it has 2 parameters .* list of the items"),
        (of_nothing, r"of_nothing\(\) cannot take batches: it has 0 parameters"),
    ],
)
def test_a_handler_that_takes_no_list_is_refused(handler, advice):
    signature = compile_signature(handler)

    with pytest.raises(DeclarationError, match=advice):
        signature.build_batch_binder()
