"""Who may call a function by its name from outside, at the service and through a gateway."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession
from waiting import DEADLINE

from eventmesh import Context, Service, on
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.http.auth.credential_file import write_credentials
from eventmesh.model.access.credentials import Credentials, Token, digest_token, new_token
from eventmesh.model.settings import Settings
from eventmesh.processes.worker import serve_gateway, serve_services

ROLES = {"ci": ("invoke", "send"), "guest": ("emit",), "ops": ("invoke", "send", "emit")}


@pytest.fixture
def seen():
    return asyncio.Queue()


@pytest.fixture
def shop(seen):
    shop = Service("shop")

    async def act(ctx: Context) -> str:
        seen.put_nowait((ctx.function, ctx.identity.principal))
        return ctx.identity.principal

    shop.function(name="quote", access="public")(act)
    shop.function(name="audit")(act)
    shop.function(name="secret", access="private")(act)
    shop.function(name="deploy", callers=["token:ci"])(act)
    shop.function(on.event("paid"), name="confirm", callers=["token:ops"])(act)
    return shop


@pytest.fixture
def tokens(tmp_path):
    """An authentication file, and a token for each role in it."""
    made = {name: new_token() for name in ROLES}
    known = {
        digest_token(token): Token(name, digest_token(token), frozenset(ROLES[name]))
        for name, token in made.items()
    }
    return tmp_path / "auth.toml", made, known


@asynccontextmanager
async def mesh(shop, tokens):
    file, _, known = tokens
    write_credentials(file, Credentials(known, {}))
    given = Settings(http_port=0, grace=5, auth_file=str(file))
    async with (
        MemoryBroker() as broker,
        serve_services([shop], broker, given) as own,
        serve_gateway(broker, given) as gateway,
        ClientSession(own.addresses["http"]) as first,
        ClientSession(gateway.addresses["http"]) as second,
    ):
        yield first, second


CALLS = [
    ("quote", "ci", 200),
    ("quote", "guest", 200),
    ("audit", "ci", 200),
    ("audit", "guest", 403),
    ("secret", "ci", 403),
    ("secret", "guest", 403),
    ("deploy", "ci", 200),
    ("deploy", "ops", 403),
    ("deploy", "guest", 403),
]


async def test_calls_by_name_over_http(shop, tokens, seen):
    _, made, _ = tokens
    async with mesh(shop, tokens) as clients:
        for client in clients:
            for function, role, status in CALLS:
                path = f"/2015-03-31/functions/shop.{function}/invocations"
                headers = {"Authorization": f"Bearer {made[role]}"}
                async with client.post(path, headers=headers) as answer:
                    assert answer.status == status, (function, role)
                    if status == 200:
                        assert await answer.json() == f"token:{role}"
                        assert seen.get_nowait() == (f"shop.{function}", f"token:{role}")
            async with client.post("/2015-03-31/functions/shop.quote/invocations") as answer:
                assert answer.status == 403  # AWS's answer to who sends no credentials.
    assert seen.empty()


async def test_stored_work_and_events_over_http(shop, tokens, seen):
    _, made, _ = tokens
    async with mesh(shop, tokens) as clients:
        for client in clients:
            for path, role, status in [
                ("/_eventmesh/send/shop.secret", "ci", 202),
                ("/_eventmesh/send/shop.deploy", "ops", 202),
                ("/_eventmesh/send/shop.audit", "guest", 403),
                ("/_eventmesh/events/paid", "ci", 403),
                ("/_eventmesh/events/paid", "ops", 202),
                ("/_eventmesh/send/shop.quote", "guest", 202),
            ]:
                headers = {
                    "Authorization": f"Bearer {made[role]}",
                    "Content-Type": "application/json",
                }
                async with client.post(path, json=None, headers=headers) as answer:
                    assert answer.status == status, path
            # What may run, runs; what was refused lies with the dead letters.
            async with asyncio.timeout(DEADLINE):
                ran = {await seen.get(), await seen.get()}
            assert ran == {("shop.confirm", "token:ops"), ("shop.quote", "token:guest")}
    assert seen.empty()
