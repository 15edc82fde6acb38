import aiohttp
import pytest

from ..app import get_ledger, get_payment
from ..models import Ledger
from ..provider import Behaviour

ORDER = {"order_id": "1", "total": 1350}
PAID = Ledger(pending=0, succeeded=1, failed=0, refunded=0, amount=1350)
UNPAID = Ledger(pending=0, succeeded=0, failed=1, refunded=0, amount=0)


def told(mesh):
    return [event.type for event in mesh.emitted if event.type.startswith("payment.")]


async def status(mesh):
    return (await mesh.invoke(get_payment, {"order_id": "1"})).status


async def test_an_order_is_charged_for(start, provider):
    async with start() as mesh:
        await mesh.emit("order.placed", ORDER)
        await mesh.settle()
        assert told(mesh) == ["payment.succeeded"]
        assert await mesh.invoke(get_ledger) == PAID
    assert provider.ledger() == {"charges": 1, "amount": 1350, "requests": 1}


async def test_an_order_that_comes_twice_is_charged_for_once(start, provider):
    async with start() as mesh:
        for _ in range(2):
            await mesh.emit("order.placed", ORDER)
            await mesh.settle()
        assert told(mesh) == ["payment.succeeded"] * 2
    assert provider.ledger()["requests"] == 1


async def test_what_is_declined_fails_with_its_reason(start):
    async with start() as mesh:
        await mesh.emit("order.placed", ORDER | {"total": 100_001})
        await mesh.settle()
        assert told(mesh) == ["payment.failed"]
        assert mesh.emitted[-1].json["reason"] == "the card was declined"
        assert await mesh.invoke(get_ledger) == UNPAID


async def test_a_provider_that_fails_is_asked_again(start, provider):
    provider.behaviour = Behaviour(failure_rate=1, latency_seconds=0)
    async with start() as mesh:
        await mesh.emit("order.placed", ORDER)
        await mesh.settle()
        assert (told(mesh), await status(mesh)) == ([], "pending")
        provider.behaviour = Behaviour(failure_rate=0, latency_seconds=0)
        await mesh.advance("1m")
        assert (told(mesh), await status(mesh)) == (["payment.succeeded"], "succeeded")
    assert provider.ledger()["charges"] == 1


async def test_a_provider_that_is_away_for_too_long_makes_the_payment_fail(start, provider):
    await provider.server.close()
    async with start(allow_failures=True) as mesh:
        await mesh.emit("order.placed", ORDER)
        await mesh.advance("10m")
        assert told(mesh) == ["payment.failed"]
        (letter,) = mesh.dead_letters
        assert letter.function == "payments.charge"
        assert "cannot be reached" in letter.error_message
        assert await mesh.invoke(get_ledger) == UNPAID


async def test_what_was_charged_for_a_cancelled_order_is_given_back(start, provider):
    async with start() as mesh:
        for type in ("order.placed", "order.cancelled", "order.cancelled"):
            await mesh.emit(type, ORDER)
            await mesh.settle()
        assert await status(mesh) == "refunded"
        assert (await mesh.invoke(get_ledger)).amount == 0
    assert provider.ledger()["charges"] == 0


async def test_an_order_that_is_cancelled_first_is_never_charged_for(start, provider):
    async with start() as mesh:
        for type in ("order.cancelled", "order.placed"):
            await mesh.emit(type, ORDER)
            await mesh.settle()
        assert (told(mesh), await status(mesh)) == (["payment.failed"], "failed")
    assert provider.charges == {}


async def test_what_the_provider_charged_without_saying_so_is_given_back(start, provider):
    provider.charges["1"] = 1350
    provider.behaviour = Behaviour(failure_rate=1, latency_seconds=0)
    async with start(allow_failures=True) as mesh:
        await mesh.emit("order.placed", ORDER)
        await mesh.advance("10m")
        assert told(mesh) == ["payment.failed"]
        provider.behaviour = Behaviour(failure_rate=0, latency_seconds=0)
        await mesh.emit("order.cancelled", ORDER)
        await mesh.settle()
    assert provider.ledger()["charges"] == 0


@pytest.mark.parametrize(("path", "answer"), [("1", 200), ("2", 404), ("ledger", 200)])
async def test_routes(start, path, answer):
    async with start(http=True) as mesh, aiohttp.ClientSession(mesh.url) as client:
        await mesh.emit("order.placed", ORDER)
        await mesh.settle()
        async with client.get(f"/payments/{path}") as reply:
            assert reply.status == answer
