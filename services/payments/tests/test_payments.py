import aiohttp
import pytest

from eventmesh import FunctionError

from ..app import AT_PROVIDER, charge, get_ledger, get_payment, refund
from ..models import Ledger
from ..provider import Behaviour
from .conftest import run_on

ORDER = {"order_id": "1", "total": 1350}
PAID = Ledger(succeeded=1, failed=0, refunded=0, amount=1350)
UNPAID = Ledger(succeeded=0, failed=1, refunded=0, amount=0)
WELL = Behaviour(failure_rate=0, latency_seconds=0)
AWAY = Behaviour(failure_rate=1, latency_seconds=0)
BUSY = Behaviour(failure_rate=0, latency_seconds=0, pause_seconds=1)


def told(mesh):
    return [event.type for event in mesh.emitted if event.type.startswith("payment.")]


async def status(mesh):
    try:
        return (await mesh.invoke(get_payment, {"order_id": "1"})).status
    except FunctionError:
        return None


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
        assert told(mesh) == ["payment.succeeded"]
        assert await mesh.invoke(get_ledger) == PAID
    assert provider.ledger()["charges"] == 1


async def test_what_is_declined_fails_with_its_reason(start):
    async with start() as mesh:
        await mesh.emit("order.placed", ORDER | {"total": 100_001})
        await mesh.settle()
        assert told(mesh) == ["payment.failed"]
        assert mesh.emitted[-1].json["reason"] == "the card was declined"
        assert await mesh.invoke(get_ledger) == UNPAID


async def test_a_provider_that_fails_is_asked_again(start, provider):
    provider.behaviour = AWAY
    async with start() as mesh:
        await mesh.emit("order.placed", ORDER)
        await mesh.settle()
        assert (told(mesh), await status(mesh)) == ([], None)
        provider.behaviour = WELL
        await mesh.advance("1m")
        assert (told(mesh), await status(mesh)) == (["payment.succeeded"], "succeeded")
    assert provider.ledger()["charges"] == 1


@pytest.mark.parametrize("behaviour", [AWAY, BUSY])
async def test_a_provider_that_is_away_for_some_minutes_is_waited_for(start, provider, behaviour):
    provider.behaviour = behaviour
    async with start() as mesh:
        await mesh.emit("order.placed", ORDER)
        await mesh.advance("8m")
        assert (told(mesh), await status(mesh)) == ([], None)
        provider.behaviour = WELL
        await mesh.advance("1m")
        assert told(mesh) == ["payment.succeeded"]


@pytest.mark.parametrize("seconds", [1, 90])
async def test_a_provider_that_asks_for_a_pause_gets_it(start, provider, seconds):
    provider.behaviour = BUSY.model_copy(update={"pause_seconds": seconds})
    async with start(allow_failures=True) as mesh:
        await mesh.emit("order.placed", ORDER)
        await mesh.advance("5m")
        delays = [retried.delay for retried in mesh.retried]
    assert min(delays) == seconds
    assert max(delays) >= 30


@pytest.mark.parametrize("function", [charge, refund])
def test_however_short_the_waits_are_the_age_ends_the_retries(function, monkeypatch):
    monkeypatch.setattr("random.uniform", min)
    retry = function.spec.retry
    assert sum(map(retry.delay, range(1, retry.attempts))) > retry.max_age


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


@pytest.mark.parametrize("event", ["order.cancelled", "order.undeliverable"])
async def test_what_was_charged_for_a_cancelled_order_is_given_back(start, provider, event):
    async with start() as mesh:
        for type in ("order.placed", event, event):
            await mesh.emit(type, ORDER)
            await mesh.settle()
        assert await status(mesh) == "refunded"
        assert told(mesh) == ["payment.succeeded", "payment.refunded"]
        assert (await mesh.invoke(get_ledger)).amount == 0
    assert provider.ledger()["charges"] == 0


@pytest.mark.parametrize("behaviour", [AWAY, BUSY])
async def test_money_is_given_back_however_late(start, provider, behaviour):
    async with start() as mesh:
        await mesh.emit("order.placed", ORDER)
        await mesh.settle()
        provider.behaviour = behaviour
        await mesh.emit("order.cancelled", ORDER)
        await mesh.advance("2d")
        assert await status(mesh) == "succeeded"
        provider.behaviour = WELL
        await mesh.advance("1h")
        assert await status(mesh) == "refunded"
    assert provider.ledger()["charges"] == 0


async def test_charges_and_refunds_together_are_no_more_than_the_provider_takes(start, provider):
    provider.behaviour = WELL.model_copy(update={"latency_seconds": 0.05})
    async with start() as mesh:
        for number in range(20):
            await mesh.emit("order.placed", {"order_id": f"{number}", "total": 1350})
            await mesh.emit("order.cancelled", {"order_id": f"other-{number}"})
        await mesh.settle()
    assert provider.requests == 40
    assert provider.most_at_once <= AT_PROVIDER


async def test_a_database_that_is_away_for_an_hour_loses_no_payment(start, tmp_path):
    async with start(allow_failures=True) as mesh:
        await run_on(tmp_path / "payments.db", "ALTER TABLE payments RENAME TO away")
        await mesh.emit("order.placed", ORDER)
        await mesh.advance("10m")
        await mesh.advance("1h")
        await run_on(tmp_path / "payments.db", "ALTER TABLE away RENAME TO payments")
        await mesh.advance("5m")
        assert told(mesh) == ["payment.failed"]
        assert [letter.function for letter in mesh.dead_letters] == ["payments.charge"]


async def test_an_order_that_is_cancelled_first_is_never_charged_for(start, provider):
    async with start() as mesh:
        for type in ("order.cancelled", "order.placed"):
            await mesh.emit(type, ORDER)
            await mesh.settle()
        assert (told(mesh), await status(mesh)) == ([], "failed")
    assert provider.charges == {}


async def test_what_the_provider_charged_without_saying_so_is_given_back(start, provider):
    provider.charges["1"] = 1350
    provider.behaviour = AWAY
    async with start(allow_failures=True) as mesh:
        await mesh.emit("order.placed", ORDER)
        await mesh.advance("10m")
        assert told(mesh) == ["payment.failed"]
        provider.behaviour = WELL
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
