"""The control API: sending later, events, functions and dead letters."""

import asyncio
import base64
import json

import pytest
from waiting import DEADLINE

from eventmesh import Context, Event, Reject, Retry, Service, on

STRUCTURED = {"Content-Type": "application/cloudevents+json"}


class Orders:
    """A service that tells what reached it."""

    def __init__(self):
        self.service = Service("orders")
        self.seen = asyncio.Queue()

        @self.service.function(on.get("/orders"), timeout=5, retry=Retry(2), concurrency=7)
        async def place(ctx: Context, sku: str = "") -> None:
            self.seen.put_nowait((sku, ctx.id, dict(ctx.headers)))
            if sku == "bad":
                raise Reject("no such thing")

        @self.service.function(on.event("order.*"))
        async def heed(event: Event) -> None:
            self.seen.put_nowait(event)

    async def next(self):
        return await asyncio.wait_for(self.seen.get(), 60)


@pytest.fixture
def orders():
    return Orders()


async def add_dead_letters(served, orders, *ids):
    for id in ids:
        body = b'{"sku": "bad"}'
        async with served.http.post(f"/_eventmesh/send/orders.place?id={id}", data=body) as answer:
            assert answer.status == 202
        await orders.next()
    async with asyncio.timeout(DEADLINE):
        await served.broker.wait_idle()


async def listed(served, query=""):
    path = f"/_eventmesh/dead-letters/orders.place{query}"
    async with served.http.get(path) as answer:
        return [letter["id"] for letter in (await answer.json())["dead_letters"]]


async def test_functions_are_described(serving, orders):
    async with serving(orders.service) as served:
        async with served.http.get("/_eventmesh/functions") as answer:
            place, heed = (await answer.json())["functions"]
        async with served.http.get("/_eventmesh/functions/orders.place") as answer:
            alone = await answer.json()
        async with served.http.get("/_eventmesh/functions/orders.nix") as answer:
            assert answer.status == 404

    assert (place["name"], place["service"]) == ("orders.place", "orders")
    assert place["triggers"] == [{"kind": "http", "description": "GET /orders"}]
    assert (place["limits"]["timeout"], place["limits"]["concurrency"]) == (5.0, 7)
    assert place["retry"]["attempts"] == 2
    assert heed["triggers"] == [{"kind": "event", "description": "event order.*"}]
    assert alone == place | {"waiting": 0, "dead_letters": 0}


async def test_something_is_sent_with_headers_and_an_id(serving, orders):
    async with serving(orders.service) as served:
        async with served.http.post(
            "/_eventmesh/send/orders.place?id=my-1",
            data=b'{"sku": "a"}',
            headers={"x-eventmesh-headers": "tenant=%C3%BC+%26&region=eu"},
        ) as answer:
            assert answer.status == 202
            assert await answer.json() == {"id": "my-1", "destination": "orders.place"}
        assert await orders.next() == ("a", "my-1", {"tenant": "ü &", "region": "eu"})


async def test_something_is_sent_later(serving, orders, manual_clock):
    async with serving(orders.service, clock=manual_clock) as served:
        path = "/_eventmesh/send/orders.place?delay=2h"
        async with served.http.post(path) as answer:
            assert answer.status == 202
        await manual_clock.advance("1h 59m")
        assert orders.seen.empty()
        await manual_clock.advance("1m")
        assert (await orders.next())[0] == ""


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("send/orders.nix", 404),
        ("send/nonsense", 404),
        ("send/orders.place?delay=soon", 422),
        ("send/orders.place?delay=-1", 422),
        ("send/orders.place?id=%07", 422),
        ("events/order.*", 422),
        ("events", 415),
        ("dead-letters/orders.place/redrive?limit=x", 422),
    ],
)
async def test_what_cannot_be_done_is_a_problem(serving, orders, path, status):
    async with (
        serving(orders.service) as served,
        served.http.post(f"/_eventmesh/{path}", data=b"{}") as answer,
    ):
        assert answer.status == status
        assert answer.content_type == "application/problem+json"
        assert json.loads(await answer.read())["detail"]


async def test_plain_data_becomes_an_event_of_the_type_in_the_path(serving, orders):
    async with serving(orders.service) as served:
        path = "/_eventmesh/events/order.placed?subject=17&source=/shop&id=e-1"
        async with served.http.post(path, json={"sku": "a"}) as answer:
            assert answer.status == 202
            assert await answer.json() == {"id": "e-1", "type": "order.placed"}
        event = await orders.next()

    assert (event.type, event.id, event.data) == ("order.placed", "e-1", {"sku": "a"})
    assert (event.source, event.subject) == ("/shop", "17")


async def test_a_structured_event_is_emitted_as_it_is(serving, orders):
    sent = {
        "specversion": "1.0",
        "type": "order.placed",
        "source": "/shop",
        "id": "e-1",
        "time": "2026-11-22T10:00:00+01:00",
        "subject": "17",
        "datacontenttype": "application/json",
        "priority": 3,
        "urgent": True,
        "data": {"sku": "ü"},
    }
    async with serving(orders.service) as served:
        async with served.http.post(
            "/_eventmesh/events", data=json.dumps(sent), headers=STRUCTURED
        ) as answer:
            assert answer.status == 202
        event = await orders.next()

    assert (event.type, event.id, event.data) == ("order.placed", "e-1", {"sku": "ü"})
    assert (event.source, event.subject) == ("/shop", "17")
    assert event.time.isoformat() == "2026-11-22T10:00:00+01:00"
    assert event.extensions == {"priority": "3", "urgent": "true"}


async def test_data_in_base64_is_taken_out_of_it(serving, orders):
    sent = {
        "specversion": "1.0",
        "type": "order.placed",
        "source": "/shop",
        "id": "e-1",
        "data_base64": base64.b64encode(b'{"sku": 1}').decode(),
    }
    async with serving(orders.service) as served:
        async with served.http.post(
            "/_eventmesh/events", data=json.dumps(sent), headers=STRUCTURED
        ) as answer:
            assert answer.status == 202
        assert (await orders.next()).data == {"sku": 1}


async def test_a_binary_event_has_its_attributes_in_headers(serving, orders):
    headers = {
        "ce-specversion": "1.0",
        "ce-type": "order.placed",
        "ce-source": "/shop",
        "ce-id": "e-1",
        "ce-subject": "%C3%BC%20%25",
        "Content-Type": "application/json",
    }
    async with serving(orders.service) as served:
        async with served.http.post(
            "/_eventmesh/events", data=b'{"sku": "a"}', headers=headers
        ) as answer:
            assert answer.status == 202
        event = await orders.next()

    assert (event.type, event.id, event.data) == ("order.placed", "e-1", {"sku": "a"})
    assert event.subject == "ü %"


@pytest.mark.parametrize(
    "change",
    [
        {"specversion": "0.3"},
        {"specversion": None},
        {"id": ""},
        {"source": None},
        {"type": None},
        {"type": "order.#"},
        {"time": "yesterday"},
        {"time": "2026-11-22T10:00:00"},
        {"data_base64": "!"},
        {"data_base64": 1},
    ],
)
async def test_an_event_that_breaks_the_rules_is_422(serving, orders, change):
    sent = {"specversion": "1.0", "type": "order.placed", "source": "/shop", "id": "e-1"}
    body = json.dumps(sent | change)
    async with (
        serving(orders.service) as served,
        served.http.post("/_eventmesh/events", data=body, headers=STRUCTURED) as answer,
    ):
        assert answer.status == 422


@pytest.mark.parametrize("body", [b"{", b"[]", b""])
async def test_what_is_no_event_is_422(serving, orders, body):
    async with (
        serving(orders.service) as served,
        served.http.post("/_eventmesh/events", data=body, headers=STRUCTURED) as answer,
    ):
        assert answer.status == 422


async def test_dead_letters_are_listed_and_shown(serving, orders):
    async with serving(orders.service) as served:
        await add_dead_letters(served, orders, "a", "b", "c")
        assert await listed(served) == ["a", "b", "c"]
        assert await listed(served, "?limit=2") == ["a", "b"]
        assert await listed(served, "?id=b") == ["b"]
        async with served.http.get("/_eventmesh/dead-letters/orders.place/b") as answer:
            letter = await answer.json()
        async with served.http.get("/_eventmesh/dead-letters/orders.place/x") as answer:
            assert answer.status == 404

    assert (letter["id"], letter["reason"]) == ("b", "no such thing")
    assert letter["payload"] == {"sku": "bad"}


async def test_dead_letters_of_all_functions_are_counted(serving, orders):
    async with serving(orders.service) as served:
        async with served.http.get("/_eventmesh/dead-letters") as answer:
            assert await answer.json() == {"functions": []}
        await add_dead_letters(served, orders, "a", "b")
        async with served.http.get("/_eventmesh/dead-letters") as answer:
            (counted,) = (await answer.json())["functions"]

    assert (counted["function"], counted["count"]) == ("orders.place", 2)
    assert 0 < counted["oldest"] <= counted["newest"]


async def test_dead_letters_are_redriven_and_purged(serving, orders):
    path = "/_eventmesh/dead-letters/orders.place"
    async with serving(orders.service) as served:
        await add_dead_letters(served, orders, "a", "b", "c")
        async with served.http.post(f"{path}/redrive?id=b") as answer:
            assert await answer.json() == {"redriven": 1}
        assert (await orders.next())[1] == "b"
        async with served.http.post(f"{path}/redrive?limit=1") as answer:
            done = await answer.json()
            # "b" may have been dead-lettered again.
            assert done["redriven"] == 1
            assert done["remaining"] in (1, 2)
        assert (await orders.next())[1] == "a"
        async with served.http.post(f"{path}/purge") as answer:
            assert answer.status == 200
            purged = (await answer.json())["purged"]
        assert purged >= 1
        async with asyncio.timeout(DEADLINE):
            await served.broker.wait_idle()


async def test_a_payload_that_is_no_json_is_base64(serving):
    service = Service("orders")

    @service.function
    async def place(data: bytes) -> None:
        raise Reject

    async with serving(service) as served:
        async with served.http.post("/_eventmesh/send/orders.place", data=b"\xff") as answer:
            id = (await answer.json())["id"]
        async with asyncio.timeout(DEADLINE):
            await served.broker.wait_idle()
        async with served.http.get(f"/_eventmesh/dead-letters/orders.place/{id}") as answer:
            letter = await answer.json()

    assert base64.b64decode(letter["payload_base64"]) == b"\xff"
    assert "payload" not in letter


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example"}, 421),
    ],
)
async def test_a_page_of_another_site_may_do_nothing(serving, orders, headers, status):
    async with serving(orders.service) as served:
        for method, path in [
            ("GET", "functions"),
            ("POST", "send/orders.place"),
            ("POST", "events/order.placed"),
            ("POST", "dead-letters/orders.place/purge"),
        ]:
            async with served.http.request(
                method, f"/_eventmesh/{path}", headers=headers
            ) as answer:
                assert answer.status == status
        assert orders.seen.empty()
