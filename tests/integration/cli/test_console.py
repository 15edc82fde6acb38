"""`eventmesh console` over RabbitMQ, beside the processes of a mesh."""

import asyncio
import signal

import aiohttp

APP = """
from eventmesh import Context, Retry, Service, on

shop = Service("shop", version="1.4")

@shop.function(on.post("/buy"))
async def buy(item: str, ctx: Context) -> str:
    return await ctx.send("shop.ship", {"item": item})

@shop.function(retry=Retry(1))
async def ship(item: str) -> None:
    raise ValueError(f"no {item}")
"""
READY = r"is ready at (http://[0-9.:]+)"
ADDRESS = r"The console is at (http://\S+)"


async def test_what_failed_behind_a_request_is_found_and_retried(launch, write, rabbitmq):
    write("app.py", APP)
    broker = {"EVENTMESH_BROKER": await rabbitmq.new_virtual_host()}
    worker = await launch("run", "--port=0", "--admin-port=0", "app.py", **broker)
    shop = (await worker.line(READY))[1]
    console = await launch("console", "--port=0", **broker)
    url = (await console.line(ADDRESS))[1]

    async with aiohttp.ClientSession() as http:
        async with http.post(f"{shop}/buy", json={"item": "tea"}) as answer:
            first = answer.headers["x-eventmesh-invocation-id"]
            second = await answer.json()
        await worker.line(f"shop.ship: function_error.*{second}")
        await wait_for(http, f"{url}api/failures", lambda found: found["functions"])
        # The process has a second to answer, which a busy machine may outlast.
        found = await wait_for(
            *(http, f"{url}api/invocations/{second}"),
            lambda found: found["state"] == "failed" and len(found["chain"]) == 2,
        )
        assert [run["function"] for run in found["chain"]] == ["shop.buy", "shop.ship"]
        assert {run["correlation_id"] for run in found["chain"]} == {first}
        (letter,) = found["dead_letters"]
        assert (letter["id"], letter["correlation_id"]) == (second, first)

        served = {"shop.buy", "shop.ship"}
        await wait_for(http, f"{url}api/state", lambda state: set(state["functions"]) == served)
        headers = {"X-Eventmesh-Console": "1"}
        asked = {"ids": [second]}
        async with http.post(
            f"{url}api/failures/shop.ship/retry", json=asked, headers=headers
        ) as answer:
            assert await answer.json() == {"retried": 1}
        await worker.line(f"shop.ship: function_error.*{second}")

    console.kill(signal.SIGTERM)
    assert await console.code() == 0


async def get(http, url):
    async with http.get(url) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def wait_for(http, url, ready):
    async with asyncio.timeout(60):
        while not ready(found := await get(http, url)):
            await asyncio.sleep(0.05)
        return found
