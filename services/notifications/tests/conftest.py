import asyncio
import email
import email.policy
import sqlite3
from contextlib import closing

import pytest
import pytest_asyncio
from aiosmtpd.smtp import SMTP

from eventmesh.testing import TestMesh

from ..app import notifications
from ..settings import Settings


class MailServer:
    """A real SMTP server; `refuse` has the replies that some recipients get."""

    def __init__(self):
        self.mails = []
        self.connections = 0
        self.refuse = {}

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
def settings(mail_server):
    return Settings(
        smtp_port=mail_server.port,
        smtp_timeout_seconds=60,
    )


@pytest.fixture
def start(settings, tmp_path):
    store = f"sqlite:///{tmp_path}/notifications.db"
    resources = {Settings: settings}
    return lambda **options: TestMesh(notifications, resources=resources, store=store, **options)


async def run_on(database, statement):
    """Run a statement in another connection; in a thread, because it may wait for the mesh's."""

    def run():
        with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
            return connection.execute(statement).fetchall()

    return await asyncio.to_thread(run)
