"""Dead letters over HTTP: many of them, and connections that are lost."""

import asyncio

import pytest
from aiohttp import web
from waiting import DEADLINE

from eventmesh import BrokerUnavailable, Client, Reject, Service
from eventmesh.client import http_dead_letters as letters

FUNCTION = "shop.work"


class Buried:
    """A server with dead letters that fail again at once; it breaks off at its request `at`."""

    def __init__(self, count, at=0):
        self.seen = []
        self._count = count
        self._at = at

    async def __call__(self, request):
        self.seen.append((request.method, dict(request.query)))
        if len(self.seen) == self._at:
            request.transport.close()
            await asyncio.sleep(0)
        if not request.query:
            return web.json_response({"purged": self._count})
        redriven = min(self._count, int(request.query["limit"]))
        return web.json_response({"redriven": redriven, "remaining": self._count - redriven})


@pytest.mark.parametrize(
    ("limit", "portions"),
    [(None, [100, 100, 50]), (120, [100, 20]), (250, [100, 100, 50]), (900, [100, 100, 50])],
)
async def test_many_are_redriven_in_portions(other_server, limit, portions):
    server = Buried(250)
    async with other_server(server) as url, Client(url) as client:
        assert await client.dead_letters.redrive(FUNCTION, limit=limit) == sum(portions)
    assert server.seen == [("POST", {"limit": str(portion)}) for portion in portions]


async def test_none_are_redriven_by_one_request(other_server):
    server = Buried(0)
    async with other_server(server) as url, Client(url) as client:
        assert await client.dead_letters.redrive(FUNCTION) == 0
    assert len(server.seen) == 1


async def test_what_may_have_been_redriven_is_not_asked_for_again(other_server):
    server = Buried(250, at=2)
    async with other_server(server) as url, Client(url) as client:
        with pytest.raises(BrokerUnavailable, match="may or may not have been done") as lost:
            await client.dead_letters.redrive(FUNCTION)
    assert len(server.seen) == 2
    (note,) = lost.value.__notes__
    assert note.startswith("100 dead letters of shop.work are known to have been delivered again")


async def test_what_may_have_been_purged_is_not_asked_for_again(other_server):
    server = Buried(250, at=1)
    async with other_server(server) as url, Client(url) as client:
        with pytest.raises(BrokerUnavailable) as lost:
            await client.dead_letters.purge(FUNCTION)
    assert server.seen == [("POST", {})]
    assert "were dropped is not known: list them to see" in lost.value.__notes__[0]


async def test_what_fails_again_meanwhile_is_redriven_once(serving, monkeypatch):
    monkeypatch.setattr(letters, "PORTION", 2)
    shop, runs = Service("shop"), []

    @shop.function
    async def work(number: int) -> None:
        runs.append(number)
        raise Reject("no")

    async with serving(shop) as served, Client(served.url) as client, asyncio.timeout(DEADLINE):
        for number in range(5):
            await client.send(FUNCTION, {"number": number})
        await served.broker.wait_idle()
        assert await client.dead_letters.redrive(FUNCTION) == 5
        await served.broker.wait_idle()
        assert len(await client.dead_letters.list(FUNCTION)) == 5
    assert sorted(runs) == sorted([*range(5)] * 2)
