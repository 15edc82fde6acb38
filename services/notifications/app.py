"""Notifications: mails to customers, in batches of one SMTP connection each."""

import os
from collections.abc import AsyncIterator
from typing import Final

from aiosmtplib import SMTPException

from eventmesh import Context, PartialFailure, Reject, Retry, Service, on

from .mailing import MailDelayed, Mailer, mail_about
from .models import EndedOrder, Ledger, Mail
from .settings import Settings
from .storage import Store, opened

notifications = Service("notifications")

PATIENT: Final = Retry(attempts=20, initial="1s", maximum="5m")
"""For what must happen some time: a mail server that is away for an hour is waited for."""

MAILS: Final = "notifications.mails"


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
    on.queue(MAILS, batch=100, batch_window="500ms"), timeout="2m", concurrency=2, retry=PATIENT
)
async def deliver(mails: list[Mail], store: Store, mailer: Mailer, ctx: Context) -> None:
    """Send what was not sent yet; only what fails comes back.

    A mail goes out twice only if the process dies between sending it and noting that.
    """
    sent = await store.sent(mails)
    failures: dict[int, Exception | str] = {}
    async with mailer.connected() as smtp:
        for index, mail in enumerate(mails):
            if mail.key in sent:
                continue
            try:
                await mailer.send(smtp, mail)
            except (Reject, MailDelayed, SMTPException, OSError) as error:
                failures[index] = error
            else:
                await store.record(mail, ctx.now)
                sent.add(mail.key)
    if failures:
        raise PartialFailure(failures)


@notifications.function(on.get("/notifications/ledger"))
async def get_ledger(store: Store) -> Ledger:
    """How many mails of each kind were sent."""
    return await store.ledger()
