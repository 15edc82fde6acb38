import aiohttp
import pytest

from ..app import deliver, get_ledger
from .conftest import run_on

REASONS = {"cancelled": "the card was declined", "undeliverable": "it is too large"}
NONE = {"confirmed": 0, "cancelled": 0, "undeliverable": 0, "reminder": 0}


def order(number, status="confirmed"):
    return {
        "order_id": str(number),
        "customer": f"customer{number}@example.com",
        "total": 1350,
        "status": status,
        "reason": REASONS.get(status, ""),
    }


async def end(mesh, *orders):
    for order in orders:
        await mesh.emit(f"order.{order['status']}", order)
    await mesh.advance("1s")


async def test_mails_say_what_became_of_the_order(start, mail_server):
    async with start(http=True) as mesh, aiohttp.ClientSession(mesh.url) as client:
        await end(mesh, order(1), order(2, "cancelled"), order(3, "undeliverable"))
        async with client.get("/notifications/ledger") as reply:
            ended = {"confirmed": 1, "cancelled": 1, "undeliverable": 1}
            assert await reply.json() == NONE | ended
    confirmed, cancelled, undeliverable = mail_server.mails
    assert confirmed["To"] == "customer1@example.com"
    assert confirmed["Subject"] == "Your order 1 is confirmed"
    assert "13.50" in confirmed.get_content()
    assert "the card was declined" in cancelled.get_content()
    assert undeliverable["Subject"] == "Your order 3 is undeliverable"
    assert "it is too large. You get your money back" in undeliverable.get_content()


async def test_a_customer_is_reminded_of_a_parcel_once(start, mail_server):
    reminder = {"order_id": "1", "customer": "customer1@example.com", "tracking": "EM1"}
    async with start(http=True) as mesh, aiohttp.ClientSession(mesh.url) as client:
        for _ in range(2):
            await mesh.emit("order.reminder", reminder)
        await mesh.advance("1s")
        async with client.get("/notifications/ledger") as reply:
            assert await reply.json() == NONE | {"reminder": 1}
    (mail,) = mail_server.mails
    assert mail["To"] == "customer1@example.com"
    assert "You find it by EM1" in mail.get_content()


async def test_a_batch_is_one_connection(start, mail_server):
    async with start() as mesh:
        await end(mesh, *map(order, range(40)))
    assert (len(mail_server.mails), mail_server.connections) == (40, 1)


async def test_an_event_that_comes_twice_makes_one_mail(start, mail_server):
    async with start() as mesh:
        await end(mesh, order(1), order(1))
        await end(mesh, order(1))
    assert [mail["Message-ID"] for mail in mail_server.mails] == ["<1.confirmed@example.com>"]


async def test_only_the_mail_that_failed_is_sent_again(start, mail_server):
    mail_server.refuse["customer2@example.com"] = "451 come again"
    async with start() as mesh:
        await end(mesh, order(1), order(2), order(3))
        assert [mail["Subject"][11] for mail in mail_server.mails] == ["1", "3"]
        mail_server.refuse.clear()
        await mesh.advance("1m")
        assert [mail["Subject"][11] for mail in mail_server.mails] == ["1", "3", "2"]
        assert len(mesh.retried) == 1


async def test_a_mail_that_will_never_be_taken_is_a_dead_letter(start, mail_server):
    mail_server.refuse["customer2@example.com"] = "550 nobody of that name"
    async with start(allow_failures=True) as mesh:
        await end(mesh, order(1), order(2))
        (letter,) = mesh.dead_letters
        assert (letter.function, letter.attempts) == (deliver.full_name, 1)
        assert "550 nobody of that name" in letter.reason
    assert len(mail_server.mails) == 1


@pytest.mark.parametrize("address", ["(@x", "a@[", "a:;@x", "a,b@x", "a@b>x", "a\x00b@x"])
async def test_a_mail_that_cannot_be_addressed_fails_alone(start, mail_server, address):
    async with start(allow_failures=True) as mesh:
        await end(mesh, order(1) | {"customer": address}, order(2))
        (letter,) = mesh.dead_letters
        assert (letter.function, letter.attempts) == (deliver.full_name, 1)
        assert "the mail cannot be written" in letter.reason
        assert mesh.retried == []
    assert [mail["To"] for mail in mail_server.mails] == ["customer2@example.com"]


async def test_a_server_that_is_away_for_an_hour_is_waited_for(start, settings, mail_server):
    port, settings.smtp_port = settings.smtp_port, 1
    async with start() as mesh:
        await end(mesh, order(1))
        await mesh.advance("1h")
        assert mail_server.mails == []
        settings.smtp_port = port
        await mesh.advance("5m")
    assert len(mail_server.mails) == 1


async def test_what_cannot_be_recorded_is_sent_again_under_the_same_id(
    start, mail_server, tmp_path
):
    async with start() as mesh:
        await run_on(tmp_path / "notifications.db", "ALTER TABLE mails RENAME TO away")
        await end(mesh, order(1))
        await run_on(tmp_path / "notifications.db", "ALTER TABLE away RENAME TO mails")
        await mesh.advance("1m")
        assert (await mesh.invoke(get_ledger)).confirmed == 1
    assert {mail["Message-ID"] for mail in mail_server.mails} == {"<1.confirmed@example.com>"}
