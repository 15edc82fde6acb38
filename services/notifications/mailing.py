"""Mails by SMTP."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from email.message import EmailMessage

from aiosmtplib import SMTP, SMTPRecipientsRefused, SMTPResponseException
from aiosmtplib.email import quote_address

from eventmesh import Reject

from .models import EndedOrder, Mail
from .settings import Settings

_PERMANENT = 500
"""Replies from here on mean that it is no use to try again (RFC 5321, section 4.2.1)."""


class MailDelayed(Exception):
    """This mail cannot be sent now, but maybe later."""


def mail_about(order: EndedOrder) -> Mail:
    """What its customer is told of an order."""
    if order.status == "confirmed":
        text = f"Thank you! Your order is paid ({order.total / 100:.2f}) and on its way."
    else:
        text = f"Your order was cancelled: {order.reason}. You were charged nothing."
    return Mail(
        order_id=order.order_id,
        kind=order.status,
        to=order.customer,
        subject=f"Your order {order.order_id} is {order.status}",
        text=text,
    )


class Mailer:
    """Sends mails as the settings say."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @asynccontextmanager
    async def connected(self) -> AsyncGenerator[SMTP]:
        """A connection for some mails. Raises SMTPException and OSError."""
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
        """Hand a mail to the server.

        Raises Reject if it cannot be written or will never be taken, MailDelayed if it is not
        taken now, and SMTPException or OSError if the connection is gone.
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
    """The mail without its sender. Raises Reject if it, or its address, cannot be written."""
    message = EmailMessage()
    try:
        message["To"] = mail.to
        message["Subject"] = mail.subject
        # The same whenever it is sent: what gets it twice can tell (RFC 5322, section 3.6.4).
        message["Message-ID"] = f"<{mail.key}@{domain}>"
        message.set_content(mail.text)
        _check_address(message, mail.to)
    except Exception as error:  # What the parser of headers raises is of all kinds.
        raise Reject(f"the mail cannot be written: {error!r}") from error
    return message


def _check_address(message: EmailMessage, address: str) -> None:
    """Raise ValueError for what is not exactly one address, or none that SMTP can name."""
    addresses = [one.addr_spec for one in message["To"].addresses]
    if addresses != [address] or not address.isprintable():
        raise ValueError(f"its recipient is not one address: {addresses}")
    quote_address(address)


def _failure(error: SMTPResponseException) -> Exception:
    told = f"the mail server answered {error.code} {error.message}"
    return Reject(told) if error.code >= _PERMANENT else MailDelayed(told)
