"""Notifications: mails to customers, in batches of one SMTP connection each."""

import os
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final

from aiosmtplib import SMTP

from eventmesh import Context, PartialFailure, Retry, Service, on

from .mailing import MailDelayed, Mailer, mail_about
from .models import EndedOrder, Ledger, Mail
from .settings import Settings
from .storage import Store, opened

PATIENT: Final = Retry(attempts=40, initial="1s", maximum="5m")
"""For mails that must not be lost: it outlasts a mail server that is unavailable for an hour."""

TIMEOUT: Final = timedelta(minutes=2)
CLAIM: Final = TIMEOUT + timedelta(minutes=1)
"""How long a mail stays claimed: the longest run that sends it, and a minute for differences of the
replicas' clocks."""

MAILS: Final = "notifications.mails"

notifications = Service("notifications", calls=[f"queue:{MAILS}"], emits=[])


@notifications.resource
async def settings() -> AsyncIterator[Settings]:
    yield Settings.from_environment(os.environ)


@notifications.resource
async def store(settings: Settings) -> AsyncIterator[Store]:
    async with opened(settings.database_url) as store:
        yield store


@notifications.resource
async def mailer(settings: Settings) -> AsyncIterator[Mailer]:
    yield Mailer(settings)


@notifications.function(on.event("order.confirmed", "order.cancelled"), retry=PATIENT)
async def write(order: EndedOrder, ctx: Context) -> None:
    """Put the mail about an order into the queue."""
    mail = mail_about(order)
    await ctx.send(f"queue:{MAILS}", mail, id=mail.key)


@notifications.function(
    on.queue(MAILS, batch=100, batch_window="500ms"), timeout=TIMEOUT, concurrency=2, retry=PATIENT
)
async def deliver(mails: list[Mail], store: Store, mailer: Mailer, ctx: Context) -> None:
    """Send the mails that were not sent yet; only failed ones are retried.

    Of several runs with the same mail only one sends it. A mail is sent twice in two cases only.
    Its run ends after the mail server took it and before that is recorded: the process dies, the
    reply is lost or late, the database is unavailable, the time is up. Or its run lasts longer than
    its claim: the process was halted, or clocks differ by more than a minute.
    """
    failures: dict[int, Exception | str] = {}
    async with mailer.connected() as smtp:
        for index, mail in enumerate(mails):
            try:
                await _send_once(mail, smtp, mailer, store, ctx)
            except Exception as error:  # noqa: BLE001 - any error fails this mail only
                failures[index] = error
    if failures:
        raise PartialFailure(failures)


@notifications.function(on.get("/notifications/ledger"))
async def get_ledger(store: Store) -> Ledger:
    """Count the sent mails by kind."""
    return await store.ledger()


async def _send_once(mail: Mail, smtp: SMTP, mailer: Mailer, store: Store, ctx: Context) -> None:
    """Send a mail, unless it was sent. Raises MailDelayed while another run is sending it."""
    if not await store.claim(mail, ctx.now, ctx.now + CLAIM):
        if await store.is_sent(mail):
            return
        raise MailDelayed("another run is sending it")
    try:
        await mailer.send(smtp, mail)
    except Exception:
        await store.release(mail, ctx.now)
        raise
    await store.record(mail, ctx.now)
