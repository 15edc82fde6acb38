"""`eventmesh replay`, while the code of the service is changed."""

import aiohttp

APP = """
from eventmesh import Service, on

shop = Service("shop")

@shop.function(on.get("/items/{item}"))
async def sell(item: str, count: int = 1) -> str:
    return f"sold {count} {item}"
"""


async def test_an_invocation_runs_again_with_the_code_that_was_saved(dev, run, write, set_constant):
    write("app.py", APP)
    # However long the process before takes to write down what it remembers.
    patient = set_constant("eventmesh.processes.reload", "_RELOAD_GRACE", 60)
    process = await dev("app.py", **patient)
    url = await process.started()
    async with aiohttp.ClientSession() as http, http.get(f"{url}/items/tea?count=3") as answer:
        assert await answer.json() == "sold 3 tea"
        id = answer.headers["x-eventmesh-invocation-id"]
    ended = await run("replay", id, EVENTMESH_URL=url)
    assert (ended.code, ended.out) == (0, '"sold 3 tea"\n')

    write("app.py", APP.replace('f"sold', 'f"gave'))
    await process.line("changed: starting again")
    await process.line("^Press Ctrl-C")
    ended = await run("replay", id, EVENTMESH_URL=url)
    assert (ended.code, ended.out) == (0, '"gave 3 tea"\n')
    ended = await run("replay", id, '{"item": "pot"}', EVENTMESH_URL=url)
    assert (ended.code, ended.out) == (0, '"gave 1 pot"\n')
    ended = await run("replay", "nonsense", EVENTMESH_URL=url)
    assert (ended.code, ended.out) == (1, "")
    assert "no process remembers a run" in ended.err


async def test_over_rabbitmq_where_payloads_are_recorded(launch, ask, write, rabbitmq):
    write("app.py", APP)
    broker = {"EVENTMESH_BROKER": await rabbitmq.new_virtual_host()}
    recording = broker | {"EVENTMESH_RECORD_PAYLOADS": "true"}
    worker = await launch("run", "--port=0", "--admin-port=0", "app.py", **recording)
    url = (await worker.line(r"is ready at (http://[0-9.:]+)"))[1]
    async with aiohttp.ClientSession() as http, http.get(f"{url}/items/tea?count=3") as answer:
        id = answer.headers["x-eventmesh-invocation-id"]
    ended = await ask("replay", id, expect=lambda ended: ended.code == 0, **broker)
    assert ended.out == '"sold 3 tea"\n'
