import asyncio
import json
import re
import time

import pytest

from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.leftovers.record import FunctionRecord, Record, dump_record
from eventmesh.model.message import Message
from eventmesh.model.topology import (
    SERVICES,
    Binding,
    dead_letters,
    inbox,
    record_name,
    to_queue,
    to_subscribers,
)

APP = """
from eventmesh import Service, on

service = Service("shop")

@service.function(on.event("order.placed"))
async def sell() -> None: ...

@service.function
async def text(n: int) -> None:
    print("text", n, flush=True)
"""
READY = r"is ready at (http://[0-9.:]+)"
SMS, AUDIT = "shop.sms", "shop.audit"
NOTHING = "Nothing to remove.\n"
UNAVAILABLE = 4


@pytest.fixture
async def url(rabbitmq):
    return await rabbitmq.new_virtual_host()


@pytest.fixture
def vhost(url):
    return url.rpartition("/")[2]


@pytest.fixture
async def other(url):
    """Another client of the broker."""
    async with RabbitBroker(url, name="test", connect_timeout=60) as broker:
        yield broker


@pytest.fixture
async def left(other):
    """What a version left that had `sms`, with three invocations, and `audit`, with none."""
    gone = time.time() - 7200
    record = Record(
        {
            SMS: FunctionRecord({"order.*": gone}, gone=gone),
            AUDIT: FunctionRecord(gone=gone),
        }
    )
    async with other.lease(record_name("shop")) as lease:
        await lease.save(dump_record(record))
    async with other.lease(SERVICES) as lease:
        await lease.save(b'["shop"]')
    queues = [inbox(SMS), inbox(AUDIT), dead_letters(SMS), dead_letters(AUDIT)]
    await other.declare(queues, [Binding(inbox(SMS), "order.*")])
    for number in range(3):
        message = Message(b'{"n": %d}' % number, f"{number}", time.time())
        await other.publish(to_queue(inbox(SMS)), message)
    await other.publish(to_queue(dead_letters(SMS)), Message(b"{}", "dead", time.time()))


@pytest.fixture
async def shop(launch, write, url):
    """The service as it is now."""
    write("app.py", APP)
    process = await launch("run", "--port=0", "--admin-port=0", "app.py", EVENTMESH_BROKER=url)
    await process.line(READY)
    return process


@pytest.fixture
def prune(run, url):
    async def prune(*arguments, given=""):
        return await run("prune", *arguments, given=given, EVENTMESH_BROKER=url)

    return prune


@pytest.fixture
def prune_all(prune):
    """Run `prune` without a name: until a process of the service answers, it finds nothing."""

    async def prune_all(*arguments, given=""):
        async with asyncio.timeout(60):
            while (ended := await prune(*arguments, given=given)).out == NOTHING:
                pass
        return ended

    return prune_all


async def ours(rabbitmq, vhost):
    return {
        name
        for name in await rabbitmq.queues(vhost)
        if re.match(r"em\.(inbox|dead)\.shop\.(sms|audit)$", name)
    }


async def test_what_is_left_is_shown_and_stays(prune_all, left, shop, rabbitmq, vhost):
    ended = await prune_all("--dry-run")
    assert ended.code == 0, ended
    assert re.search(r"│ shop\.sms +│ 2h +│ 3 +│ 1 +│ order\.\* +│", ended.out)
    assert re.search(r"│ shop\.audit +│ 2h +│ 0 +│ 0 +│ +│", ended.out)
    assert len(await ours(rabbitmq, vhost)) == 4


async def test_dead_letters_of_what_is_left_are_listed(run, left, shop, url):
    ended = await run("dlq", "list", "--url", url, "--json")
    assert [(each["function"], each["count"]) for each in json.loads(ended.out)] == [(SMS, 1)]


async def test_what_waits_is_moved_to_the_new_name(
    prune, prune_all, left, shop, other, rabbitmq, vhost
):
    ended = await prune_all("--yes", "--move-to", "shop.text")
    assert ended.code == 0, ended
    assert "shop.sms removed: 3 invocations moved to shop.text, 1 dead letter kept" in ended.out
    assert "shop.audit removed: nothing waited" in ended.out
    for _ in range(3):
        await shop.line(r"^text \d$")
    assert await ours(rabbitmq, vhost) == {"em.dead.shop.sms"}
    audited = [json.loads(line) for line in ended.err.splitlines() if "eventmesh.audit" in line]
    assert [(line["action"], line["target"]) for line in audited] == [
        ("prune", SMS),
        ("prune", AUDIT),
    ]
    assert "3 invocations moved" in audited[0]["outcome"]
    # Only the dead letters are left, and a second time drops them.
    again = await prune("shop.sms", "--yes", "--dead-letters")
    assert "1 dead letter dropped" in again.out
    assert await ours(rabbitmq, vhost) == set()
    assert (await prune()).out == NOTHING


async def test_it_asks_what_to_do_and_whether(prune, prune_all, left, shop, rabbitmq, vhost):
    refused = await prune_all(given="drop\nyes\n")
    assert refused.code == 1
    assert "nothing was removed" in refused.err
    assert len(await ours(rabbitmq, vhost)) == 4
    kept = await prune_all(given="\nprune\n")
    assert kept.code == 0
    assert "3 invocations wait for shop.sms" in kept.err
    assert await ours(rabbitmq, vhost) == {"em.inbox.shop.sms", "em.dead.shop.sms"}
    dropped = await prune("shop.sms", given="no such name\ndrop\nshop.sms\n")
    assert "shop.sms removed: 3 invocations dropped, 1 dead letter kept" in dropped.out
    assert await ours(rabbitmq, vhost) == {"em.dead.shop.sms"}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--yes"], 2, "--move-to SERVICE.FUNCTION or --drop"),
        (["--yes", "--drop", "--move-to", "shop.text"], 2, "exclude each other"),
        (["--yes", "--move-to", "shop.audit"], 2, "is to be removed itself"),
        (["--yes", "--move-to", "shop.nothing"], 3, "shop.nothing"),
        (["shop.text", "--yes", "--wait", "20s"], 2, "a process has it"),
        (["shop.nothing", "--yes"], 3, "nothing is left"),
    ],
)
async def test_what_is_refused_changes_nothing(
    prune_all, left, shop, rabbitmq, vhost, arguments, code, said
):
    ended = await prune_all(*arguments)
    assert ended.code == code, ended
    assert said in ended.err
    assert len(await ours(rabbitmq, vhost)) == 4


async def test_a_service_that_is_gone_for_good(prune, left, other, rabbitmq, vhost):
    assert (await prune("--yes", "--drop")).out == NOTHING
    ended = await prune("shop", "--yes", "--drop", "--dead-letters")
    assert ended.code == 0, ended
    assert {name for name in await rabbitmq.queues(vhost) if "shop" in name} == set()
    await other.publish(to_subscribers("order.placed"), Message(b"{}", "1", time.time()))


@pytest.fixture(params=["worker", "gateway"])
async def over_http(request, launch, run, left, shop, url):
    """Run a command on the HTTP address of the service, or of a gateway to it."""
    address = next(found[1] for line in shop.lines if (found := re.search(READY, line)))
    if request.param == "gateway":
        gateway = await launch("gateway", "--port=0", "--admin-port=0", EVENTMESH_BROKER=url)
        address = (await gateway.line(READY))[1]

    async def over_http(*arguments):
        ended = await run(*arguments, "--url", address)
        async with asyncio.timeout(60):
            # As above; and who is asked has to ask the mesh, for which it may have too little time.
            while ended.out == NOTHING or ended.code == UNAVAILABLE:
                ended = await run(*arguments, "--url", address)
        return ended

    return over_http


async def test_over_http_dead_letters_of_what_is_left_are_listed_and_dropped(over_http):
    ended = await over_http("dlq", "list", "--json")
    assert [(each["function"], each["count"]) for each in json.loads(ended.out)] == [(SMS, 1)]
    assert (await over_http("dlq", "purge", SMS, "--yes")).code == 0
    assert (await over_http("dlq", "list", "--json")).out == "[]\n"


async def test_over_http_what_is_left_is_shown_and_removed(over_http, shop, rabbitmq, vhost):
    shown = await over_http("prune", "--dry-run")
    assert re.search(r"│ shop\.sms +│ 2h +│ 3 +│ 1 +│ order\.\* +│", shown.out), shown
    assert len(await ours(rabbitmq, vhost)) == 4
    refused = await over_http("prune", "shop.text", "--yes")
    assert (refused.code, "a process has it" in refused.err) == (2, True)
    missing = await over_http("prune", "shop.nothing", "--yes")
    assert (missing.code, "nothing is left" in missing.err) == (3, True)
    ended = await over_http("prune", "--yes", "--move-to", "shop.text")
    assert "shop.sms removed: 3 invocations moved to shop.text, 1 dead letter kept" in ended.out
    assert "shop.audit removed: nothing waited" in ended.out
    for _ in range(3):
        await shop.line(r"^text \d$")
    assert await ours(rabbitmq, vhost) == {"em.dead.shop.sms"}


async def test_the_embedded_broker_has_nothing_left(run, dev, write):
    write("app.py", APP)
    process = await dev("app.py")
    ended = await run("prune", "--url", await process.started())
    assert ended.code == 2
    assert "the embedded broker lives inside this process" in ended.err
    ended = await run("prune", "--broker", "memory://")
    assert ended.code == 2
    assert "--broker amqp://" in ended.err
