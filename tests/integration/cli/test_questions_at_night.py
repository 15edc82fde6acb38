"""What an operator asks at night: each command of the table in docs/operations.md answers."""

import re
from pathlib import Path

import aiohttp

APP = """
import asyncio
from eventmesh import Context, Retry, Service, on

shop = Service("shop", version="1.4")

@shop.function(on.get("/buy"))
async def buy(item: str, ctx: Context) -> str:
    return await ctx.send("shop.ship", {"item": item})

@shop.function(retry=Retry(1), timeout=3600)
async def ship(item: str) -> None:
    if item == "unicorn":
        raise ValueError(f"no {item}")
    await asyncio.sleep(3600)
"""
PAGE = Path(__file__).parents[3] / "docs" / "operations.md"
ANSWERS = {
    "eventmesh ps": r"shop.*1\.4",
    "eventmesh ps --running": r"shop\.ship.*{running}",
    "eventmesh show {first}": r"succeeded(.|\n)*shop\.buy(.|\n)*shop\.ship(.|\n)*ValueError",
    "eventmesh top --sort p95": r"shop\.buy",
    "eventmesh dlq list": r"shop\.ship",
    "eventmesh dlq show shop.ship {id}": r"no unicorn",
    "eventmesh dlq redrive shop.ship --all": r"^1 dead letter ",
    "eventmesh doctor": r"",
    "eventmesh prune --dry-run": r"",
}
"""What the commands of the table print, at the least: `id` has failed behind the request `first`,
and `running` runs."""


def commands():
    """The commands of the table."""
    (section,) = re.findall(
        r"^## Questions at night$(.*?)^## ", PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    return re.findall(r"`(eventmesh [^`]+)`", section)


async def test_each_is_answered(launch, ask, write, rabbitmq):
    write("app.py", APP)
    broker = {"EVENTMESH_BROKER": await rabbitmq.new_virtual_host()}
    worker = await launch("run", "--port=0", "--admin-port=0", "app.py", **broker)
    url = (await worker.line(r"is ready at (http://[0-9.:]+)"))[1]
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{url}/buy?item=tea") as answer:
            running = await answer.json()
        async with http.get(f"{url}/buy?item=unicorn") as answer:
            first, id = answer.headers["x-eventmesh-invocation-id"], await answer.json()
    await worker.line(f"shop.ship: function_error.*{id}")

    for command in commands():
        meant = "{first}" if command.startswith("eventmesh show") else "{id}"
        typed = command.replace("NAME", "shop.ship").replace("ID", meant)
        pattern = ANSWERS[typed]
        answer = re.compile(pattern.format(id=id, running=running[:8]))
        await ask(
            *typed.format(first=first, id=id).split()[1:],
            expect=lambda ended, answer=answer: ended.code == 0 and answer.search(ended.out),
            **broker,
        )
