"""Keys at a URL: fetched seldom, kept long."""

import asyncio
import json

import pytest
from aiohttp import web
from joserfc.jwk import RSAKey

from eventmesh.http.auth.fetch import MAX_BYTES
from eventmesh.http.auth.jose import load_keys
from eventmesh.http.auth.jwks import FRESH_SECONDS, RETRY_SECONDS, FetchedKeys
from eventmesh.model.errors import Problem, SettingsError


class Issuer:
    """Serves a set of keys; a test says which, and may hold its answers back."""

    def __init__(self, *keys):
        self.body = json.dumps({"keys": [key.as_dict(private=False) for key in keys]}).encode()
        self.status = 200
        self.headers = {}
        self.requests = 0
        self.asked = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def answer(self, request):
        self.requests += 1
        self.asked.set()
        await self.open.wait()
        return web.Response(status=self.status, body=self.body, headers=self.headers)

    def hold(self):
        self.open.clear()
        self.asked.clear()


@pytest.fixture(scope="session")
def new():
    return RSAKey.generate_key(2048, {"kid": "new"})


@pytest.fixture
async def issuer(rsa):
    return Issuer(rsa)


@pytest.fixture
async def source(issuer, clock):
    runner = web.ServerRunner(web.Server(issuer.answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield FetchedKeys(
            f"http://127.0.0.1:{runner.addresses[0][1]}/keys",
            lambda document: load_keys(document, ["RS256"]),
            clock,
        )
    finally:
        issuer.open.set()
        await runner.cleanup()


async def test_keys_are_fetched_once_for_all_who_wait(source, issuer):
    issuer.hold()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(5):
            tasks.create_task(source.keys("rsa"))
        await issuer.asked.wait()
        issuer.open.set()

    assert "rsa" in await source.keys("rsa")
    assert issuer.requests == 1


async def test_who_is_cancelled_leaves_the_fetch_to_the_next(source, issuer):
    issuer.hold()
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(source.keys("rsa"))
        await issuer.asked.wait()
        second = tasks.create_task(source.keys("rsa"))
        issuer.asked.clear()
        first.cancel()
        await issuer.asked.wait()
        issuer.open.set()

    assert "rsa" in second.result()
    assert issuer.requests == 2


async def test_an_unknown_key_is_asked_for_at_most_every_few_seconds(
    source, issuer, clock, rsa, new
):
    await source.keys("rsa")
    issuer.body = Issuer(rsa, new).body

    assert "new" not in await source.keys("new")
    await clock.advance(RETRY_SECONDS)
    assert "new" in await source.keys("new")
    for number in range(100):
        await source.keys(f"invented-{number}")
    assert issuer.requests == 2


async def test_nobody_waits_for_a_known_key_while_another_is_asked_for(source, issuer, clock):
    await source.keys("rsa")
    await clock.advance(RETRY_SECONDS)
    issuer.hold()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(source.keys("unknown"))
        await issuer.asked.wait()

        assert "rsa" in await source.keys("rsa")
        issuer.open.set()


async def test_old_keys_are_used_while_new_ones_come(source, issuer, clock, new):
    async with asyncio.TaskGroup() as tasks:
        source.use_tasks(tasks)
        await source.keys("rsa")
        await clock.advance(FRESH_SECONDS + 1)
        issuer.body = Issuer(new).body
        issuer.hold()

        assert "rsa" in await source.keys("rsa")
        assert "rsa" in await source.keys("rsa")
        await issuer.asked.wait()
        issuer.open.set()

    assert issuer.requests == 2
    assert list(await source.keys("new")) == ["new"]


async def test_old_keys_are_replaced_without_a_task_group_too(source, issuer, clock, new):
    await source.keys("rsa")
    await clock.advance(FRESH_SECONDS + 1)
    issuer.body = Issuer(new).body

    assert list(await source.keys("rsa")) == ["new"]


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500},
        {"status": 302, "headers": {"Location": "/other"}},
        {"body": b"no JSON"},
        {"body": b"[" * 100_000},
        {"body": b'{"keys": []}'},
        {"body": b" " * (MAX_BYTES + 1)},
    ],
)
async def test_the_last_good_keys_are_kept(source, issuer, clock, fault, caplog):
    await source.keys("rsa")
    vars(issuer).update(fault)
    await clock.advance(FRESH_SECONDS + 1)

    assert "rsa" in await source.keys("rsa")
    assert issuer.requests == 2
    assert "cannot be had" in caplog.text


async def test_no_keys_at_all_are_a_503_and_asked_for_again_later(source, issuer, clock):
    issuer.status = 404
    for _ in range(3):
        with pytest.raises(Problem) as caught:
            await source.keys("rsa")
        assert caught.value.status == 503
    assert issuer.requests == 1

    issuer.status = 200
    await clock.advance(RETRY_SECONDS)
    assert "rsa" in await source.keys("rsa")


async def test_an_issuer_that_does_not_answer_is_given_up(source, issuer, clock):
    issuer.hold()
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(refused(source))
        await issuer.asked.wait()
        await clock.advance(60)

    assert waiting.result().status == 503


async def refused(source):
    with pytest.raises(Problem) as caught:
        await source.keys("rsa")
    return caught.value


@pytest.mark.parametrize(
    "url",
    [
        "http://id.example.org/keys",
        "http://127.0.0.1.example.org/keys",
        "https://user:hunter2@id.example.org/keys",
        "file:///etc/passwd",
        "ftp://127.0.0.1/keys",
        "https://",
        "https://[",
        "https://host:x/",
    ],
)
def test_keys_come_over_tls_or_from_this_machine(url, clock):
    with pytest.raises(SettingsError, match="https://") as caught:
        FetchedKeys(url, lambda document: document, clock)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://id.example.org/keys", "http://localhost:1/", "http://[::1]/"]
)
def test_urls_that_are_accepted(url, clock):
    FetchedKeys(url, lambda document: document, clock)
