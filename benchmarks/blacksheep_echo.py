"""The echo on blacksheep, which finds what annotations name only among a module's globals."""

from __future__ import annotations

from blacksheep import Application, FromJSON, Response, json, post

from benchmarks.order import Order

app = Application(show_error_details=False)


@post("/echo")
async def echo(order: FromJSON[Order]) -> Response:
    return json(order.value.model_dump())
