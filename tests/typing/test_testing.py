"""What type checkers know of a mesh inside a test: nothing here is run, they read it."""

from typing import Any, assert_type

from eventmesh import Service
from eventmesh.testing import Emitted, Record, Sent, TestMesh

shop = Service("shop")


@shop.function
async def double(number: int) -> int:
    return number * 2


async def a_mesh_calls_as_a_client_does(mesh: TestMesh) -> None:
    assert_type(await mesh.invoke(double, {"number": 1}), int)
    assert_type(await mesh.invoke("shop.double", {"number": 1}, returns=int), int)
    assert_type(await mesh.invoke("shop.double"), Any)
    assert_type(await mesh.send(double, {"number": 1}, delay="1h"), str)


async def what_happened_has_types(mesh: TestMesh) -> None:
    assert_type(mesh.records, list[Record])
    assert_type(mesh.sent, list[Sent])
    assert_type(mesh.emitted[0], Emitted)
    assert_type(mesh.emitted[0].read(dict[str, int]), dict[str, int])
    assert_type(mesh.emitted[0].json, Any)


def stubs_are_named_or_declared() -> None:
    TestMesh(shop, stubs={"pricing.quote": 5, double: ValueError("no")})
