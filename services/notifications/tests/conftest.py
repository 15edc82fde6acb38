import asyncio
import email
import email.policy

import pytest
import pytest_asyncio
from aiosmtpd.smtp import SMTP

from eventmesh.testing import TestMesh

from ..app import notifications
from ..settings import Settings


class MailServer:
    """A real SMTP server; `refuse` has the replies that some recipients get.

    It tells of each mail in `asked`, and takes it when `open` is set.
    """

    def __init__(self):
        self.mails = []
        self.connections = 0
        self.refuse = {}
        self.asked = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def handle_EHLO(self, server, session, envelope, hostname, responses):  # noqa: N802
        self.connections += 1
        session.host_name = hostname
        return responses

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        self.asked.set()
        await self.open.wait()
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"


@pytest_asyncio.fixture
async def mail_server():
    server = MailServer()
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: SMTP(server, loop=loop), "127.0.0.1", 0)
    async with listening:
        server.port = listening.sockets[0].getsockname()[1]
        server.close = listening.close
        yield server


@pytest.fixture
def settings(tmp_path, mail_server):
    return Settings(
        database_url=f"sqlite+aiosqlite:///{tmp_path}/notifications.db",
        smtp_port=mail_server.port,
    )


@pytest.fixture
def start(settings):
    return lambda **options: TestMesh(notifications, resources={Settings: settings}, **options)
