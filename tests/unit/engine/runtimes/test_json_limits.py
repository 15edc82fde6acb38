"""Payloads whose JSON has too much in it, or numbers that JSON does not have."""

from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from eventmesh import Body
from eventmesh.model.errors import PayloadInvalid, PayloadTooLarge


class Order(BaseModel):
    item: str


@pytest.mark.parametrize("annotation", [list, dict, Any, list[Order], float], ids=repr)
async def test_a_json_bomb_is_refused_unparsed(run, annotation):
    async def take(payload: Annotated[annotation, Body()]) -> None: ...

    error = (await run(take, b"[" * 11, max_nodes=10)).error
    assert isinstance(error, PayloadTooLarge)
    assert (error.size, error.limit, error.unit) == (12, 10, "JSON values")


async def test_values_are_not_counted_in_bytes(run):
    async def take(body: bytes) -> int:
        return len(body)

    assert (await run(take, b"[" * 11, max_nodes=10)).body == b"11"


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999"])
async def test_numbers_that_json_does_not_have_are_refused(run, number):
    async def pay(amount: float) -> None: ...

    error = (await run(pay, b'{"amount": %b}' % number)).error
    assert isinstance(error, PayloadInvalid)
    assert "Invalid JSON" in str(error)
