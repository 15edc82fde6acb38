"""The shop of services/ in processes of its own, with a console that looks at it."""

import asyncio
import email
import email.policy
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ClientSession, web
from aiosmtpd.smtp import SMTP
from launching import clean_environment, launched
from shopping import Shop
from tcp_proxy import TcpProxy, proxying

from services.orders.carrier import Behaviour as CarrierBehaviour
from services.orders.carrier import Carrier
from services.payments.provider import Behaviour, Provider

ROOT = Path(__file__).parents[2]
SERVICES = [
    f"services/{name}" for name in ("orders", "inventory", "payments", "notifications", "reports")
]
PORTS = ("--port=0", "--admin-port=0")


class MailServer:
    """Takes mails, but for the recipients in `refused`, whom it refuses for good."""

    def __init__(self):
        self.refused = set()
        self.mails = []
        self._came = asyncio.Condition()

    # aiosmtpd calls them by the names of commands.
    async def handle_RCPT(self, _server, _session, envelope, address, _options):  # noqa: N802
        if address in self.refused:
            return "550 nobody of that name"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server, _session, envelope):  # noqa: N802
        async with self._came:
            mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
            self.mails.append(mail["To"])
            self._came.notify_all()
        return "250 OK"

    async def wait_for(self, *recipients):
        """Wait until the mails that came are those to these recipients."""
        async with asyncio.timeout(60), self._came:
            await self._came.wait_for(lambda: sorted(self.mails) == sorted(recipients))


@dataclass
class WatchedShop:
    """`console` is the page's address, which is reached through `network`."""

    shop: Shop
    http: ClientSession
    mail_server: MailServer
    console: str
    network: TcpProxy

    async def order(self, customer="ada@example.com"):
        """Place an order; the ids of the invocation and of the order."""
        order = {"customer": customer, "lines": [{"sku": "tea", "count": 1}]}
        async with self.http.post("/orders", json=order) as answer:
            assert answer.status == 201, await answer.text()
            placed = await answer.json()
            return answer.headers["x-eventmesh-invocation-id"], placed["order_id"]


@asynccontextmanager
async def open_watched_shop(folder, broker=""):
    """Run the shop with a console while entered: on that RabbitMQ, or by `eventmesh dev`."""
    mail_server, provider = MailServer(), Provider(Behaviour(failure_rate=0, latency_seconds=0))
    carrier = Carrier(CarrierBehaviour(failure_rate=0))
    async with AsyncExitStack() as stack:
        environment = clean_environment() | {
            "EVENTMESH_RECORD_PAYLOADS": "true",
            "EVENTMESH_STORE": f"sqlite:///{folder}/shop.db",
            "ORDERS_CARRIER_URL": await stack.enter_async_context(_serving(carrier.app())),
            "PAYMENTS_PROVIDER_URL": await stack.enter_async_context(_serving(provider.app())),
            "NOTIFICATIONS_SMTP_PORT": str(await stack.enter_async_context(_taking(mail_server))),
        }

        async def launch(*arguments):
            return await stack.enter_async_context(
                launched(*arguments, cwd=ROOT, environment=environment)
            )

        if broker:
            environment["EVENTMESH_BROKER"] = broker
            worker = await launch("run", *PORTS, *SERVICES)
            url = (await worker.line(r"is ready at (http://[0-9.:]+)"))[1]
            looking = await launch("console", "--port=0")
            console = (await looking.line(r"The console is at (http://\S+)"))[1]
        else:
            process = await launch("dev", "--no-reload", *PORTS, *SERVICES)
            url = await process.started()
            console = f"{url}/_console/"
        network = await stack.enter_async_context(proxying(console))
        http = await stack.enter_async_context(ClientSession(url))
        shop = Shop(http)
        await shop.stock(1000)
        yield WatchedShop(shop, http, mail_server, network.url(console), network)


@asynccontextmanager
async def _serving(app):
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _taking(mail_server):
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(mail_server, loop=loop), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
