"""Notifications: mails to customers, in batches of one SMTP connection each."""

import os
from collections.abc import AsyncIterator
from typing import Final

from sqlalchemy import func, select

from eventmesh import Context, PartialFailure, Retry, Service, on

from .mailing import Mailer, mail_about, mail_of
from .models import EndedOrder, Ledger, Mail, Reminder
from .settings import Settings
from .tables import Base, SentMail

PATIENT: Final = Retry(attempts=40, initial="1s", maximum="5m")
"""For mails that must not be lost: it outlasts a mail server that is unavailable for an hour."""

MAILS: Final = "notifications.mails"

notifications = Service("notifications", calls=[f"queue:{MAILS}"], emits=[], tables=Base.metadata)


@notifications.resource
async def settings() -> AsyncIterator[Settings]:
    yield Settings.from_environment(os.environ)


@notifications.resource
async def mailer(settings: Settings) -> AsyncIterator[Mailer]:
    yield Mailer(settings)


@notifications.function(
    on.event("order.confirmed", "order.cancelled", "order.undeliverable"), retry=PATIENT
)
async def write(order: EndedOrder, ctx: Context) -> None:
    """Put the mail about an order into the queue."""
    mail = mail_about(order)
    await ctx.send(f"queue:{MAILS}", mail, id=mail.key)


@notifications.function(on.event("order.reminder"), retry=PATIENT)
async def remind(reminder: Reminder, ctx: Context) -> None:
    """Put the mail that reminds of a parcel into the queue."""
    mail = mail_of(reminder)
    await ctx.send(f"queue:{MAILS}", mail, id=mail.key)


@notifications.function(
    on.queue(MAILS, batch=100, batch_window="500ms"), timeout="2m", concurrency=2, retry=PATIENT
)
async def deliver(mails: list[Mail], mailer: Mailer, ctx: Context) -> None:
    """Send the mails that were not sent yet; only failed ones are retried.

    A mail is sent twice in one case only: its run ends after the mail server took it and before
    that is committed, because the process dies, the reply is lost, or the database goes away.
    """
    failures: dict[int, Exception | str] = {}
    async with mailer.connected() as smtp, ctx.transaction() as session:
        for index, mail in enumerate(mails):
            if await session.get(SentMail, (mail.order_id, mail.kind)) is not None:
                continue
            try:
                await mailer.send(smtp, mail)
            except Exception as error:  # noqa: BLE001 - any error fails this mail only
                failures[index] = error
            else:
                session.add(SentMail(order_id=mail.order_id, kind=mail.kind, sent=ctx.now))
        if failures:
            raise PartialFailure(failures)


@notifications.function(on.get("/notifications/ledger"))
async def get_ledger(ctx: Context) -> Ledger:
    """Count the sent mails by kind."""
    query = select(SentMail.kind, func.count()).group_by(SentMail.kind)
    async with ctx.transaction() as session:
        counts: dict[str, int] = dict((await session.execute(query)).all())
    return Ledger.model_validate(counts)
