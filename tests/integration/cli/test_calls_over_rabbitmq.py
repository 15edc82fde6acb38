"""The commands that call a mesh, by way of its broker."""

import asyncio
import json
import re

import pytest

from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.engine.settlement import dead_letter
from eventmesh.model.errors import Reject
from eventmesh.model.message import Message
from eventmesh.model.topology import dead_letters, inbox, to_queue

APP = """
import sys
from eventmesh import Context, Event, Reject, Retry, Service, on

service = Service("shop")
stock = []

def say(*words):
    print(*words, file=sys.stderr, flush=True)

@service.function
async def add(first: int, ctx: Context, second: int = 0) -> dict:
    return {"sum": first + second, "colour": ctx.headers.get("colour")}

@service.function
async def fail() -> None:
    raise ValueError("out of tea")

@service.function
async def note(text: str, ctx: Context) -> None:
    say("noted", text, ctx.id)

@service.function(on.event("order.*"))
async def ordered(event: Event[dict]) -> None:
    say("ordered", event.type, event.subject, event.source, event.data["item"], event.id)

@service.function(on_failure="shop.told")
async def order(item: str) -> None:
    if item not in stock:
        raise Reject(f"no {item}")
    say("sold", item)

@service.function
async def told(record: dict) -> None:
    say("told of", record["id"])

@service.function
async def deliver(item: str) -> None:
    stock.append(item)
"""
TEA = '{"item": "tea"}'


@pytest.fixture
async def url(rabbitmq):
    return await rabbitmq.new_virtual_host()


@pytest.fixture
async def mesh(launch, write, url):
    write("app.py", APP)
    process = await launch("run", "--port=0", "--admin-port=0", "app.py", EVENTMESH_BROKER=url)
    await process.line("is ready at")
    return process


@pytest.fixture
def shop(run, mesh, url):
    async def shop(*arguments, **options):
        return await run(*arguments, EVENTMESH_BROKER=url, **options)

    return shop


async def listed(shop):
    ended = await shop("dlq", "list", "shop.order", "--json")
    assert ended.code == 0, ended
    return [letter["id"] for letter in json.loads(ended.out)]


async def test_invoke_send_and_emit(shop, mesh):
    ended = await shop("invoke", "shop.add", '{"first": 40, "second": 2}', "-H", "colour=green")
    assert (ended.code, ended.out, ended.err) == (0, '{"sum":42,"colour":"green"}\n', "")

    ended = await shop("send", "shop.note", '{"text": "tea"}')
    assert (ended.code, ended.err) == (0, "")
    await mesh.line(f"^noted tea {ended.out.strip()}$")
    await shop("send", "shop.note", '{"text": "later"}', "--delay", "200ms", "--id", "one")
    await mesh.line("^noted later one$")

    ended = await shop("emit", "order.placed", TEA, "--subject", "7", "--source", "/till")
    assert (ended.code, ended.err) == (0, "")
    await mesh.line(f"^ordered order.placed 7 /till tea {ended.out.strip()}$")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["invoke", "shop.fail"], 1, "ValueError: out of tea"),
        (["invoke", "shop.add", '{"first": "x"}'], 2, "first: Input should be a valid integer"),
        (["invoke", "shop.nothing"], 3, "there is no 'shop.nothing'"),
        (["send", "shop.nothing"], 3, "there is no 'shop.nothing'"),
        (["send", "queue:nothing"], 3, "there is no 'nothing'"),
        (["dlq", "show", "shop.add", "x"], 3, "there is no 'dead letter x'"),
    ],
)
async def test_what_fails_has_an_exit_code_and_one_message(shop, arguments, code, message):
    ended = await shop(*arguments)
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.startswith("Error: ")
    assert message in ended.err


async def test_dead_letters(shop, mesh):
    for id in ("one", "two", "three"):
        await shop("send", "shop.order", TEA, "--id", id)
        await mesh.line(f"^told of {id}$")
    assert await listed(shop) == ["one", "two", "three"]
    (counted,) = json.loads((await shop("dlq", "list", "--json")).out)
    assert (counted["function"], counted["count"]) == ("shop.order", 3)
    shown = await shop("dlq", "show", "shop.order", "two", "--json")
    letter = json.loads(shown.out)
    assert (letter["id"], letter["payload"], letter["error_message"]) == (
        "two",
        {"item": "tea"},
        "no tea",
    )
    await shop("invoke", "shop.deliver", TEA)
    redriven = await shop("dlq", "redrive", "shop.order", "--id", "two")
    assert redriven.out == "1 dead letter of shop.order delivered again\n"
    await mesh.line("^sold tea$")
    assert await listed(shop) == ["one", "three"]
    redriven = await shop("dlq", "redrive", "shop.order", "--limit", "1")
    await mesh.line("^sold tea$")
    purged = await shop("dlq", "purge", "shop.order", "--yes")
    assert purged.out == "1 dead letter of shop.order dropped\n"
    assert await listed(shop) == []


async def test_an_address_that_is_given_comes_first(shop, run, url):
    ended = await shop("invoke", "shop.add", '{"first": 1}', EVENTMESH_URL="http://127.0.0.1:1")
    assert (ended.code, "http://127.0.0.1:1" in ended.err) == (4, True)
    for option in ("--url", "--broker"):
        ended = await run(
            *("invoke", "shop.add", '{"first": 1}', option, url),
            EVENTMESH_URL="http://127.0.0.1:1",
        )
        assert (ended.code, json.loads(ended.out)["sum"]) == (0, 1)


CALLS = [("send", "shop.note", "1"), ("dlq", "list", "shop.note"), ("ps",), ("doctor",)]


@pytest.mark.parametrize("command", CALLS, ids=lambda command: command[0])
async def test_a_broker_that_refuses_the_user_is_told_at_once(run, rabbitmq, command):
    wrong = rabbitmq.url.replace("guest:guest", "guest:secret")
    ended = await run(*command, "--broker", wrong)
    assert ended.code == 3
    assert "\nError: amqp://" in ended.err  # after the warning of a password that others see
    assert re.search("refuse[sd] the user .*check the name", ended.err)
    assert "secret" not in ended.err


async def test_a_virtual_host_that_is_not_there_is_told_at_once(run, rabbitmq):
    ended = await run("invoke", "shop.add", "{}", "--broker", f"{rabbitmq.url}nowhere")
    assert ended.code == 3
    assert "vhost nowhere not found" in ended.err


async def test_an_interrupted_redrive_loses_nothing(run, launch, url):
    ids = {f"n{number}" for number in range(1000)}
    delivered = asyncio.Queue()
    async with RabbitBroker(url, name="test", connect_timeout=60) as broker:
        await broker.declare([inbox("dead.letter"), dead_letters("dead.letter")])

        async def bury(id):
            message = Message(b"1", id, 1_700_000_000.0)
            letter = dead_letter(message, "dead.letter", Reject("buried"), "buried", 0.0)
            await broker.publish(to_queue(dead_letters("dead.letter")), letter)

        async with asyncio.TaskGroup() as tasks:
            for id in ids:
                tasks.create_task(bury(id))

        def deliver(delivery):
            delivery.ack()
            delivered.put_nowait(delivery.message.id)

        redrive = ("dlq", "redrive", "dead.letter", "--all", "--broker", url)
        async with broker.consume(inbox("dead.letter"), deliver, prefetch=100):
            interrupted = await launch(*redrive)
            seen = [await delivered.get() for _ in range(100)]
            interrupted.press_ctrl_c()
            assert await interrupted.code() == 130
            rest = await run(*redrive)
            assert rest.code == 0, rest
            while set(seen) != ids:
                seen.append(await delivered.get())
        assert await broker.depth(dead_letters("dead.letter")) == 0
    assert len(seen) <= len(ids) + 1


async def test_functions_complete(shop):
    asked = {"COMP_WORDS": "eventmesh invoke shop.a", "COMP_CWORD": "2"}
    # It gives up after a moment, which a busy machine may need: whoever waits presses Tab again.
    async with asyncio.timeout(60):
        while not (shown := (await shop(_EVENTMESH_COMPLETE="zsh_complete", **asked)).out.split()):
            pass
    assert shown == ["plain", "shop.add", "_"]


async def test_functions_do_not_complete_where_no_broker_is(run):
    ended = await run(
        EVENTMESH_BROKER="amqp://127.0.0.1:1",
        _EVENTMESH_COMPLETE="zsh_complete",
        COMP_WORDS="eventmesh invoke shop.a",
        COMP_CWORD="2",
    )
    assert (ended.code, ended.out.strip(), ended.err) == (0, "", "")
