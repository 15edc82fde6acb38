"""A test may be a function, and somebody."""

import pytest

from eventmesh import AccessDenied, DeclarationError, Service
from eventmesh.auth import Identity
from eventmesh.testing import TestMesh

ADA = Identity("jwt:ada", "jwt", frozenset(("a",)))


@pytest.fixture
def shop():
    shop = Service("shop")

    @shop.function(access="private")
    def secret(identity: Identity) -> str:
        return identity.principal

    return shop


async def test_as_a_function_and_for_somebody(shop):
    async with TestMesh(shop, caller="shop.test", identity=ADA) as mesh:
        assert await mesh.invoke("shop.secret") == "jwt:ada"


async def test_as_nobody(shop):
    async with TestMesh(shop) as mesh:
        with pytest.raises(AccessDenied, match=r"a client without an identity may not call"):
            await mesh.invoke("shop.secret")


def test_a_caller_is_a_function(shop):
    with pytest.raises(DeclarationError):
        TestMesh(shop, caller="shop")
