"""The whole shop in one process, with the systems of others that it uses: to try and to test."""

import asyncio
import email
import email.policy
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session

from eventmesh.testing import TestMesh

from .inventory.app import inventory
from .inventory.settings import Settings as InventorySettings
from .notifications.app import notifications
from .notifications.settings import Settings as NotificationsSettings
from .orders.app import orders
from .orders.carrier import Behaviour as CarrierBehaviour
from .orders.carrier import Carrier
from .orders.settings import Settings as OrdersSettings
from .payments.app import payments
from .payments.provider import Behaviour, Provider
from .payments.settings import Settings as PaymentsSettings
from .reports.app import reports

PATIENCE = 60.0
"""Real seconds to wait for what is outside of the mesh: a busy machine changes no outcome."""


class Mailbox:
    """What a mail server has been given, for whomever."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []

    # aiosmtpd calls it by the command's name.
    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take a mail (RFC 5321, section 4.1.1.4)."""
        content = envelope.original_content or b""
        self.mails.append(email.message_from_bytes(content, policy=email.policy.default))
        return "250 OK"


@dataclass
class Shop:
    """The services on a mesh whose clock is moved by hand, and what is outside of them."""

    mesh: TestMesh
    http: aiohttp.ClientSession
    provider: Provider
    carrier: Carrier
    mailbox: Mailbox

    async def order(self, key: str, headers: dict[str, str], **counts: int) -> tuple[int, Any]:
        """Order so many of each article by a real HTTP request: the status, and the answer."""
        lines = [{"sku": sku, "count": count} for sku, count in counts.items()]
        body = {"customer": "ada@example.com", "lines": lines}
        headers = {"Idempotency-Key": f'"{key}"'} | headers
        async with self.http.post("/orders", json=body, headers=headers) as reply:
            return reply.status, await reply.json()

    async def get(self, path: str) -> Any:
        """What a route answers with."""
        async with self.http.get(path, raise_for_status=True) as reply:
            return await reply.json()

    async def ledgers(self) -> list[tuple[str, int, int]]:
        """For each party, by its own books, how many orders went well and how many did not."""
        stock = await self.get("/inventory/ledger")
        paid = await self.get("/payments/ledger")
        mailed = await self.get("/notifications/ledger")
        days = await self.get("/reports/days")
        kinds = Counter(str(mail["Subject"]).rpartition(" ")[2] for mail in self.mailbox.mails)
        failed = await self.count("cancelled") + await self.count("undeliverable")
        return [
            ("orders", await self.count("confirmed"), failed),
            ("inventory", stock["committed"], stock["released"]),
            ("payments", paid["succeeded"], paid["failed"] + paid["refunded"]),
            ("notifications", *_count_mailed(mailed)),
            ("reports", _sum(days, "confirmed"), _sum(days, "cancelled")),
            ("mailbox", *_count_mailed(kinds)),
        ]

    async def count(self, status: str) -> int:
        """Count the orders of a status."""
        page = await self.get(f"/orders?status={status}&limit=500")
        count = len(page["orders"])
        while page["next"]:
            page = await self.get(f"/orders?status={status}&limit=500&after={page['next']}")
            count += len(page["orders"])
        return count


def _count_mailed(kinds: Mapping[str, int]) -> tuple[int, int]:
    """Count the orders that went well, and not: one that is undeliverable was confirmed before."""
    undeliverable = kinds["undeliverable"]
    return kinds["confirmed"] - undeliverable, kinds["cancelled"] + undeliverable


def _sum(days: list[dict[str, int]], column: str) -> int:
    return sum(day[column] for day in days)


@asynccontextmanager
async def open_shop(
    folder: Path, behaviour: Behaviour, *, start: datetime | None = None
) -> AsyncGenerator[Shop]:
    """Run the shop, with its database in `folder`. Provider and carrier fail at one rate."""
    provider, mailbox = Provider(behaviour), Mailbox()
    carrier = Carrier(CarrierBehaviour(failure_rate=behaviour.failure_rate))
    async with AsyncExitStack() as stack:
        provider_url = await stack.enter_async_context(serving(provider.app()))
        carrier_url = await stack.enter_async_context(serving(carrier.app()))
        smtp_port = await stack.enter_async_context(receiving(mailbox))
        resources = {
            OrdersSettings: OrdersSettings(carrier_url=carrier_url),
            InventorySettings: InventorySettings(),
            PaymentsSettings: PaymentsSettings(
                provider_url=provider_url, provider_timeout_seconds=PATIENCE
            ),
            NotificationsSettings: NotificationsSettings(
                smtp_port=smtp_port, smtp_timeout_seconds=PATIENCE
            ),
        }
        services = (orders, inventory, payments, notifications, reports)
        mesh = TestMesh(
            *services,
            resources=resources,
            start=start,
            http=True,
            store=f"sqlite:///{folder}/shop.db",
            allow_failures=True,
            timeout=PATIENCE,
        )
        await stack.enter_async_context(mesh)
        http = await stack.enter_async_context(aiohttp.ClientSession(mesh.url))
        yield Shop(mesh, http, provider, carrier, mailbox)


@asynccontextmanager
async def serving(app: web.Application) -> AsyncGenerator[str]:
    """Serve a web application on a port of loopback; yield its URL."""
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def receiving(mailbox: Mailbox) -> AsyncGenerator[int]:
    """Receive mails by SMTP on a port of loopback; yield the port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(mailbox, loop=loop), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
