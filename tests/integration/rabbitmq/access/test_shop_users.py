"""The shop of services/, each service as the user that is derived from its code: it may do all that
it does, and its durable function too."""

import asyncio
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest
from aiohttp import ClientSession
from shopping import Shop

from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.brokers.rabbitmq.access.definitions import build_definitions
from eventmesh.brokers.rabbitmq.access.permissions import gateway_permissions, permissions
from eventmesh.model.settings import Settings
from eventmesh.packaging.broker_export import rights_of
from eventmesh.processes.worker import serve_gateway, serve_services
from services.inventory.app import inventory
from services.notifications.app import notifications
from services.orders.app import orders
from services.orders.carrier import Behaviour as CarrierBehaviour
from services.orders.carrier import Carrier
from services.payments.app import payments
from services.payments.provider import Behaviour, Provider
from services.reports.app import reports
from services.shop import Mailbox, receiving, serving

SERVICES = (orders, inventory, payments, notifications, reports)
DEADLINE = 60.0
ID = uuid4().hex[:8]
VHOST, GATEWAY = f"test-{ID}", f"gateway{ID}"


@pytest.fixture
async def node(rabbitmq, importing):
    rights = [rights_of(service) for service in SERVICES]
    users = [*map(permissions, rights), gateway_permissions(GATEWAY)]
    definitions = build_definitions(VHOST, users, rights, {each.user: "secret" for each in users})
    await asyncio.to_thread(importing, rabbitmq, definitions)
    yield rabbitmq
    for each in users:
        await rabbitmq.ctl("delete_user", each.user)
    await rabbitmq.ctl("delete_vhost", VHOST)


@pytest.fixture
async def carrier(monkeypatch):
    """The carrier, beside the other systems that the services find by their settings."""
    carrier = Carrier(CarrierBehaviour(failure_rate=0))
    provider = Provider(Behaviour(failure_rate=0, latency_seconds=0))
    async with (
        serving(carrier.app()) as carrier_url,
        serving(provider.app()) as provider_url,
        receiving(Mailbox()) as smtp_port,
    ):
        monkeypatch.setenv("ORDERS_CARRIER_URL", carrier_url)
        monkeypatch.setenv("PAYMENTS_PROVIDER_URL", provider_url)
        monkeypatch.setenv("NOTIFICATIONS_SMTP_PORT", str(smtp_port))
        yield carrier


async def open_broker(stack, node, user, **options):
    settings = Settings(
        broker=f"amqp://{user}:secret@{node.host}:{node.port}/{VHOST}",
        broker_users="per-service",
        gateways=(GATEWAY,),
        http_port=0,
        admin_port=0,
        grace=5,
        **options,
    )
    broker = RabbitBroker(settings.broker_address, connect_timeout=DEADLINE)
    await stack.enter_async_context(broker)
    return broker, settings


async def test_orders_are_shipped_or_taken_back(node, carrier, tmp_path, caplog):
    async with AsyncExitStack() as stack:
        for service in SERVICES:
            store = f"sqlite:///{tmp_path}/{service.name}.db"
            broker, settings = await open_broker(stack, node, service.name, store=store)
            await stack.enter_async_context(serve_services([service], broker, settings))
        door, settings = await open_broker(stack, node, GATEWAY)
        gateway = await stack.enter_async_context(serve_gateway(door, settings))
        client = await stack.enter_async_context(ClientSession(gateway.addresses["http"]))
        shop = Shop(client)
        await shop.until(lambda: find_status(client), lambda status: status == 200)
        _, small = await shop.order(count=1)
        _, large = await shop.order(count=101)

        async def find_ends():
            placed = [await shop.get(f"/orders/{order['order_id']}") for order in (small, large)]
            return {
                "orders": [order["status"] for order in placed],
                "collected": carrier.collected(),
                "sold": (await shop.get("/inventory/ledger"))["sold"],
                "refunded": (await shop.get("/payments/ledger"))["refunded"],
                "mailed": (await shop.get("/notifications/ledger"))["undeliverable"],
            }

        expected = {
            "orders": ["confirmed", "undeliverable"],
            "collected": {small["order_id"]},
            "sold": 1,
            "refunded": 1,
            "mailed": 1,
        }
        await shop.until(find_ends, lambda ends: ends == expected)
    assert "ACCESS_REFUSED" not in caplog.text
    assert "access to" not in caplog.text


async def find_status(client):
    """Ask for a page of each service, until the gateway knows them all."""
    for path in ("/orders", "/inventory/items", "/payments/ledger", "/notifications/ledger"):
        async with client.get(path) as answer:
            if answer.status != 200:
                break
    return answer.status
