"""What `eventmesh dev` tells of the files that were saved, and of code that does not run."""

import asyncio
import json
import signal

import aiohttp
import pytest

HELLO = """
from eventmesh import Service, on

service = Service("greeter")

@service.function(on.get("/hello"), timeout={timeout})
async def hello() -> str:
    return "{text}"
"""
BROKEN = "def broken(:\n"


async def get(url, **options):
    async with aiohttp.ClientSession() as session, session.get(url, **options) as answer:
        return answer.status, await answer.text(), answer.headers


async def code(url):
    """What the console tells of the code."""
    status, text, _ = await get(f"{url}/_console/api/state")
    assert status == 200
    return json.loads(text)["code"]


@pytest.fixture
async def greeter(dev, write):
    """A process that is reloaded, at `url`."""
    write("app.py", HELLO.format(timeout=30, text="Hello"))
    process = await dev("app.py")
    process.url = await process.started()
    return process


async def test_what_the_last_save_changed(greeter, write):
    assert await code(greeter.url) == {}
    write("app.py", HELLO.format(timeout=5, text="Hello"))
    await greeter.started()
    saved = (await code(greeter.url))["saved"]
    assert saved.pop("at") > 0
    assert saved == {
        "files": ["app.py"],
        "more": 0,
        "services": [],
        "functions": [
            {
                "name": "greeter.hello",
                "kind": "changed",
                "changes": [{"what": "timeout", "before": "30.0", "after": "5.0"}],
                "more": 0,
            }
        ],
    }


async def test_why_code_does_not_run_until_it_does(greeter, write):
    write("app.py", HELLO.format(timeout=5, text="Hello") + BROKEN)
    await greeter.line("^It has ended")
    told = await code(greeter.url)
    assert list(told) == ["problem"]
    problem = told["problem"]
    assert problem["message"] == "app.py cannot be imported: SyntaxError: invalid syntax"
    assert (problem["file"], problem["line"]) == ("app.py", 9)
    assert problem["saved"]["files"] == ["app.py"]

    write("app.py", HELLO.format(timeout=5, text="Mended"))
    await greeter.started()
    assert (await get(f"{greeter.url}/hello"))[:2] == (200, '"Mended"')
    (told,) = (await code(greeter.url)).values()
    # It is compared with the code that ran last, not with the one that did not.
    assert [each["what"] for each in told["functions"][0]["changes"]] == ["timeout"]


async def test_who_asks_the_services_meanwhile_is_told_to_retry(greeter, write):
    write("app.py", BROKEN)
    await greeter.line("^It has ended")
    for path in ("/hello", "/", "/anything/else"):
        status, text, headers = await get(f"{greeter.url}{path}")
        assert (status, headers["Retry-After"]) == (503, "1")
        # Strangers may ask, where it listens to them.
        assert "SyntaxError" not in text
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{greeter.url}/hello", json={}) as answer,
    ):
        assert answer.status == 503
    assert (await get(f"{greeter.url}/_console/code"))[0] == 200


async def test_a_stream_ends_when_the_next_process_is_started(greeter, write):
    write("app.py", BROKEN)
    await greeter.line("^It has ended")
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{greeter.url}/_console/api/events") as events,
    ):
        assert await events.content.readline() == b"event: snapshot\n"
        write("app.py", HELLO.format(timeout=5, text="Mended"))
        async with asyncio.timeout(60):
            await events.content.read()
    await greeter.started()
    assert (await get(f"{greeter.url}/hello"))[:2] == (200, '"Mended"')


async def test_a_client_that_sends_half_a_request_does_not_hold_up_the_next_process(greeter, write):
    write("app.py", BROKEN)
    await greeter.line("^It has ended")
    host, port = greeter.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"POST /_console/api/queues/x/purge HTTP/1.1\r\nHost: localhost\r\n")
    writer.write(b"X-Eventmesh-Console: 1\r\nContent-Type: application/json\r\n")
    writer.write(b"Content-Length: 100\r\n\r\n{")
    await writer.drain()
    # Its connection is accepted before this one, which is answered.
    assert (await get(f"{greeter.url}/hello"))[0] == 503
    write("app.py", HELLO.format(timeout=5, text="Mended"))
    await greeter.started()
    assert (await get(f"{greeter.url}/hello"))[:2] == (200, '"Mended"')
    async with asyncio.timeout(60):
        await reader.read()
    writer.close()
    await writer.wait_closed()


async def test_a_process_that_ends_by_itself_is_told_of(greeter, write):
    write("app.py", "import os\nos._exit(7)\n")
    await greeter.line("^It has ended")
    problem = (await code(greeter.url))["problem"]
    assert problem["kind"] == "ended"
    assert "exit code is 7" in problem["message"]


async def test_an_error_of_other_code_is_forgotten(greeter, write):
    write("app.py", BROKEN)
    await greeter.line("^It has ended")
    write("app.py", "import os\nos._exit(7)\n")
    await greeter.line("^It has ended")
    assert (await code(greeter.url))["problem"]["kind"] == "ended"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_is_stopped_while_nothing_runs(greeter, write, number):
    write("app.py", BROKEN)
    await greeter.line("^It has ended")
    greeter.kill(number)
    # The code of the process that could not load.
    assert await greeter.code() == 2


async def test_without_its_apis_there_is_no_console(dev, write):
    write("app.py", HELLO.format(timeout=30, text="Hello"))
    process = await dev("app.py", EVENTMESH_API="false")
    url = await process.started()
    write("app.py", BROKEN)
    await process.line("^It has ended")
    for path in ("/hello", "/_console/", "/_console/api/state"):
        assert (await get(f"{url}{path}"))[0] == 503


async def test_who_may_not_read_is_told_nothing(dev, write, tmp_path):
    (tmp_path / "tokens.toml").write_text("")
    (tmp_path / "tokens.toml").chmod(0o600)
    write("app.py", HELLO.format(timeout=30, text="Hello"))
    process = await dev("app.py", EVENTMESH_AUTH_FILE=str(tmp_path / "tokens.toml"))
    url = await process.started()
    write("app.py", BROKEN)
    await process.line("^It has ended")
    for path in ("state", "events", "me"):
        status, text, _ = await get(f"{url}/_console/api/{path}")
        assert status == 401
        assert "SyntaxError" not in text
