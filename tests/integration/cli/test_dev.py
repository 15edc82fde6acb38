import asyncio
import os
import signal
import socket

import aiohttp
import pytest

HELLO = """
from eventmesh import Service, on

service = Service("greeter")

@service.function(on.get("/hello"))
async def hello() -> str:
    return "{}"
"""

# Each handler says on standard error that it runs, and goes on when somebody reads the pipe.
BLOCKING = """
import asyncio, os, sys
from eventmesh import Service, on

service = Service("blocking")

@service.function(on.post("/thread"), timeout=None)
def thread() -> str:
    print("running", file=sys.stderr, flush=True)
    open("pipe", "w").close()
    return "done"

@service.function(on.post("/task"), timeout=None)
async def task() -> str:
    print("running", file=sys.stderr, flush=True)
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        print("cancelled", file=sys.stderr, flush=True)
        raise
"""


async def get(url):
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


async def post(url):
    async with aiohttp.ClientSession() as session, session.post(url) as answer:
        return answer.status, await answer.text()


async def outcome(url):
    """The answer, or why there is none."""
    try:
        return await post(url)
    except aiohttp.ClientError as error:
        return error


@pytest.fixture
def pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


async def test_services_of_all_targets_are_shown_and_answer(dev, write):
    write("app.py", HELLO.format("Hello"))
    write("other.py", 'from eventmesh import Service, on\ns = Service("other")\n')
    process = await dev("--no-reload", "app.py", "other:s")
    await process.line(r"greeter\.hello.*GET /hello.*30 s")
    url = await process.started()
    assert await get(f"{url}/hello") == (200, '"Hello"')


async def test_documentation_metrics_and_health_are_where_it_says(dev, write):
    write("app.py", HELLO.format("Hello"))
    process = await dev("--no-reload", "app.py")
    for what, content in (
        ("API docs", "swagger"),
        ("Metrics", "eventmesh_invocations"),
        ("Health", '"status":"ready"'),
    ):
        address = await process.line(rf"^{what} +(http://\S+)$")
        status, text = await get(address[1])
        assert status == 200
        assert content in text.lower()


async def test_the_page_at_the_root_leads_to_all_of_them(dev, write):
    write("app.py", HELLO.format("Hello"))
    process = await dev("--no-reload", "app.py")
    addresses = [
        (await process.line(rf"^{what} +(http://\S+)$"))[1]
        for what in ("HTTP", "API docs", "Metrics", "Health")
    ]
    status, page = await get(addresses[0])
    assert status == 200
    assert "greeter.hello" in page
    assert all(f'href="{url}"' in page for url in ["/docs", *addresses[2:]])


async def test_it_is_loaded_again_on_a_change_at_the_same_address(dev, write):
    write("app.py", HELLO.format("Hello"))
    process = await dev("app.py")
    url = await process.started()
    assert await get(f"{url}/hello") == (200, '"Hello"')
    write("app.py", HELLO.format("Good morning"))
    await process.line("^app.py changed: starting again$")
    assert await process.started() == url
    assert await get(f"{url}/hello") == (200, '"Good morning"')
    process.press_ctrl_c()
    assert await process.code() == 0


async def test_a_change_that_cannot_be_loaded_is_shown_and_the_next_one_tried(dev, write):
    write("app.py", HELLO.format("Hello"))
    process = await dev("app.py")
    url = await process.started()
    write("app.py", "def broken(:\n")
    await process.line("^Error: app.py cannot be imported: SyntaxError: ")
    await process.line(r"^  app.py:1$")
    await process.line(r"^It has ended: the next change starts it again.$")
    write("app.py", HELLO.format("Mended"))
    assert await process.started() == url
    assert await get(f"{url}/hello") == (200, '"Mended"')


async def test_a_module_beside_the_target_is_watched_too(dev, write):
    write("shop/__init__.py", "")
    write("shop/words.py", "HELLO = 'Hello'")
    write("shop/app.py", "from .words import HELLO\n" + HELLO.format("").replace('""', "HELLO"))
    process = await dev("shop.app")
    url = await process.started()
    write("shop/words.py", "HELLO = 'Changed'")
    await process.line("^shop/words.py changed: starting again$")
    await process.started()
    assert await get(f"{url}/hello") == (200, '"Changed"')


@pytest.mark.parametrize("reload", ["--reload", "--no-reload"])
async def test_ctrl_c_lets_what_runs_finish(dev, write, pipe, reload):
    write("app.py", BLOCKING)
    process = await dev(reload, "app.py")
    url = await process.started()
    async with asyncio.TaskGroup() as tasks:
        answer = tasks.create_task(post(f"{url}/thread"))
        await process.line("^running$")
        process.press_ctrl_c()
        await process.line("SIG(INT|TERM): finishing what runs$")
        assert not answer.done()
        await asyncio.to_thread(pipe.read_bytes)
    assert answer.result() == (200, '"done"')
    assert await process.code() == 0


@pytest.mark.parametrize("reload", ["--reload", "--no-reload"])
async def test_a_second_ctrl_c_waits_for_nothing(dev, write, pipe, reload):
    write("app.py", BLOCKING)
    process = await dev(reload, "app.py")
    url = await process.started()
    async with asyncio.TaskGroup() as tasks:
        answer = tasks.create_task(outcome(f"{url}/thread"))
        await process.line("^running$")
        process.press_ctrl_c()
        await process.line("SIG(INT|TERM): finishing what runs$")
        process.press_ctrl_c()
        assert await process.code() == 130
    assert isinstance(answer.result(), aiohttp.ClientError)


@pytest.mark.parametrize("reload", ["--reload", "--no-reload"])
async def test_a_signal_to_the_process_alone_ends_it_too(dev, write, reload):
    write("app.py", HELLO.format("Hello"))
    process = await dev(reload, "app.py")
    await process.started()
    process.kill(signal.SIGTERM)
    await process.line("SIGTERM: finishing what runs$")
    await process.line("stopped$")
    assert await process.code() == 0


async def test_what_takes_longer_than_the_grace_time_is_cancelled(dev, write):
    write("app.py", BLOCKING)
    process = await dev("--no-reload", "--grace=10ms", "app.py")
    url = await process.started()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(post(f"{url}/task"))
        await process.line("^running$")
        process.press_ctrl_c()
        await process.line("^cancelled$")
    assert await process.code() == 0


async def test_a_thread_that_hangs_does_not_keep_the_process(dev, write, pipe):
    write("app.py", BLOCKING)
    process = await dev("--no-reload", "--grace=10ms", "app.py")
    url = await process.started()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(post(f"{url}/thread"))
        await process.line("^running$")
        process.press_ctrl_c()
    assert await process.code() == 0


async def test_told_to_stop_before_all_is_up(dev, write):
    write(
        "app.py",
        "import asyncio\n"
        "from collections.abc import AsyncIterator\n"
        "from eventmesh import Service\n"
        "class Pool: ...\n"
        "service = Service('slow')\n"
        "@service.resource\n"
        "async def pool() -> AsyncIterator[Pool]:\n"
        "    print('opening', flush=True)\n"
        "    await asyncio.get_running_loop().create_future()\n"
        "    yield Pool()\n",
    )
    process = await dev("--no-reload", "app.py")
    await process.line("^opening$")
    process.kill(signal.SIGTERM)
    assert await process.code() == 0


async def test_a_resource_that_cannot_be_opened(dev, write):
    write(
        "app.py",
        "from collections.abc import AsyncIterator\n"
        "from eventmesh import Service\n"
        "class Pool: ...\n"
        "service = Service('poor')\n"
        "@service.resource\n"
        "async def pool() -> AsyncIterator[Pool]:\n"
        "    raise ConnectionRefusedError('no database')\n"
        "    yield Pool()\n",
    )
    process = await dev("app.py")
    await process.line("^Error: ConnectionRefusedError: no database$")
    await process.line("^This was raised while poor opened its resource app.Pool.$")
    await process.line("^  app.py:7$")
    assert await process.code() == 1
    assert not any("Traceback" in line for line in process.lines)


async def test_a_port_that_is_taken(launch, write):
    write("app.py", HELLO.format("Hello"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for option, other in (("--port", "--admin-port"), ("--admin-port", "--port")):
            process = await launch("dev", f"{option}={port}", f"{other}=0", "app.py")
            await process.line(f"^Error: .*127.0.0.1:{port}")
            assert await process.code() == 2


@pytest.mark.parametrize("options", [["--port=0"], ["--port=1", "--no-reload"]])
async def test_an_address_that_is_not_of_this_machine(launch, write, options):
    write("app.py", HELLO.format("Hello"))
    process = await launch("dev", "--host=192.0.2.1", "--admin-port=0", *options, "app.py")
    await process.line("^Error: .*192.0.2.1")
    assert await process.code() == 2


async def test_debug_shows_the_traceback(launch, write):
    write("app.py", "oops")
    process = await launch("--debug", "dev", "app.py")
    await process.line("^Traceback")
    await process.line("^Error: app.py cannot be imported")
    assert await process.code() == 2


async def test_two_services_of_one_name(dev, write):
    write("one.py", HELLO.format("One"))
    write("two.py", HELLO.format("Two"))
    process = await dev("one.py", "two.py")
    await process.line("^Error: two services are called 'greeter'")
    assert await process.code() == 2


async def test_a_target_that_cannot_be_loaded_at_first(dev, write):
    write("app.py", HELLO.format("Hello") + "oops\n")
    process = await dev("app.py")
    await process.line("^Error: app.py cannot be imported: NameError: name 'oops' is not defined$")
    await process.line("^  app.py:9$")
    await process.line("^    oops$")
    assert await process.code() == 2


@pytest.mark.parametrize("target", ["nowhere.py", "nowhere"])
async def test_a_target_that_is_not_there(dev, target):
    process = await dev(target)
    await process.line(f"^Error: there is no '{target}'")
    assert await process.code() == 2


async def test_options_win_over_the_environment(dev, write):
    write("app.py", HELLO.format("Hello"))
    process = await dev(
        *("--log-format=json", "--no-reload", "app.py"),
        EVENTMESH_LOG_FORMAT="text",
        EVENTMESH_LOG_LEVEL="WARNING",
    )
    await process.started()
    process.kill(signal.SIGTERM)
    assert await process.code() == 0
    assert not any("stopped" in line for line in process.lines)


async def test_json_logs(dev, write):
    write("app.py", HELLO.format("Hello"))
    process = await dev("--log-format=json", "app.py")
    await process.started()
    process.kill(signal.SIGTERM)
    await process.line('"message":"stopped"')
