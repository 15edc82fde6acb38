"""Mails by SMTP."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from email.message import EmailMessage

from aiosmtplib import SMTP, SMTPRecipientsRefused, SMTPResponseException
from aiosmtplib.email import quote_address

from eventmesh import Reject

from .models import EndedOrder, Mail, Reminder
from .settings import Settings

_PERMANENT = 500
"""Replies from this code on are permanent failures (RFC 5321, section 4.2.1)."""


class MailDelayed(Exception):
    """This mail cannot be sent now, but maybe later."""


def mail_about(order: EndedOrder) -> Mail:
    """Write the mail to the customer about an order."""
    if order.status == "confirmed":
        text = f"Thank you! Your order is paid ({order.total / 100:.2f}) and on its way."
    elif order.status == "undeliverable":
        text = f"We cannot ship your order: {order.reason}. You get your money back."
    else:
        text = f"Your order was cancelled: {order.reason}. You were charged nothing."
    return Mail(
        order_id=order.order_id,
        kind=order.status,
        to=order.customer,
        subject=f"Your order {order.order_id} is {order.status}",
        text=text,
    )


def mail_of(reminder: Reminder) -> Mail:
    """Write the mail that reminds the customer of a parcel."""
    return Mail(
        order_id=reminder.order_id,
        kind="reminder",
        to=reminder.customer,
        subject=f"Your order {reminder.order_id} should be with you soon",
        text=f"The carrier has your parcel since yesterday. You find it by {reminder.tracking}.",
    )


class Mailer:
    """Sends mails to the server in the settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @asynccontextmanager
    async def connected(self) -> AsyncGenerator[SMTP]:
        """Open a connection for several mails. Raises SMTPException and OSError."""
        settings = self._settings
        smtp = SMTP(
            hostname=settings.smtp_host,
            port=settings.smtp_port,
            username=settings.smtp_user or None,
            password=settings.smtp_password.get_secret_value() or None,
            start_tls=settings.smtp_starttls,
            timeout=settings.smtp_timeout_seconds,
        )
        async with smtp:
            yield smtp

    async def send(self, smtp: SMTP, mail: Mail) -> None:
        """Send a mail to the server.

        Raises Reject if it cannot be written or is refused for good, MailDelayed if it is refused
        for now, and SMTPException or OSError if the connection is lost.
        """
        sender = self._settings.sender
        message = _message(mail, sender.partition("@")[2])
        message["From"] = sender
        try:
            await smtp.send_message(message, recipients=[mail.to])
        except SMTPRecipientsRefused as refused:
            raise _failure(refused.recipients[0]) from refused
        except SMTPResponseException as error:
            raise _failure(error) from error


def _message(mail: Mail, domain: str) -> EmailMessage:
    """Build the mail without its sender. Raises Reject if it or its address is not valid."""
    message = EmailMessage()
    try:
        message["To"] = mail.to
        message["Subject"] = mail.subject
        # The same each time, so that receivers recognise repetitions (RFC 5322, section 3.6.4).
        message["Message-ID"] = f"<{mail.key}@{domain}>"
        message.set_content(mail.text)
        _check_address(message, mail.to)
    except Exception as error:  # The parser of headers raises errors of many kinds.
        raise Reject(f"the mail cannot be written: {error!r}") from error
    return message


def _check_address(message: EmailMessage, address: str) -> None:
    """Raise ValueError unless this is exactly one address that SMTP can carry."""
    addresses = [address.addr_spec for address in message["To"].addresses]
    if addresses != [address] or not address.isprintable():
        raise ValueError(f"its recipient is not one address: {addresses}")
    quote_address(address)


def _failure(error: SMTPResponseException) -> Exception:
    told = f"the mail server answered {error.code} {error.message}"
    return Reject(told) if error.code >= _PERMANENT else MailDelayed(told)
