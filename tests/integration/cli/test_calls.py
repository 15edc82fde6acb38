import asyncio
import json
import os
import re
import socket
import sys

import pytest

APP = """
import asyncio, sys
from eventmesh import Context, Event, Reject, Service, on

service = Service("shop")

def say(*words):
    print(*words, file=sys.stderr, flush=True)

@service.function
async def add(first: int, second: int = 0) -> int:
    return first + second

@service.function
async def echo(payload: object, ctx: Context) -> dict:
    return {"payload": payload, "colour": ctx.headers.get("colour")}

@service.function
async def fail() -> None:
    raise ValueError("out of tea")

@service.function(timeout=None, concurrency=1, max_pending=0)
async def busy() -> None:
    say("busy")
    await asyncio.get_running_loop().create_future()

@service.function
async def note(text: str, ctx: Context) -> None:
    say("noted", text, ctx.id)

@service.function(on.event("order.*"))
async def ordered(event: Event[dict]) -> None:
    say("ordered", event.type, event.subject, event.source, event.data["item"], event.id)
"""


async def test_the_result_and_nothing_else_is_on_standard_output(shop):
    ended = await shop("invoke", "shop.add", '{"first": 40, "second": 2}')
    assert (ended.code, ended.out, ended.err) == (0, "42\n", "")


async def test_the_payload_may_be_in_a_file_or_on_standard_input(shop, write):
    write("payload.json", '{"first": 1}\n')
    from_file = await shop("invoke", "shop.add", "@payload.json")
    from_input = await shop("invoke", "shop.add", "-", given='{"first": 2}')
    assert (from_file.out, from_input.out) == ("1\n", "2\n")


async def test_headers_are_passed_on(shop):
    ended = await shop("invoke", "shop.echo", '["tea"]', "--header", "colour=green")
    assert json.loads(ended.out) == {"payload": ["tea"], "colour": "green"}


async def test_the_address_may_be_an_option(run, mesh):
    ended = await run("invoke", "shop.add", '{"first": 1}', "--url", mesh.url)
    assert (ended.code, ended.out) == (0, "1\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["invoke", "shop.fail"], 1, "ValueError: out of tea"),
        (["invoke", "shop.add", '{"first": "x"}'], 2, "first: Input should be a valid integer"),
        (["invoke", "shop.nothing"], 3, "there is no 'shop.nothing'"),
        (["send", "shop.nothing"], 3, "there is no 'shop.nothing'"),
        (["send", "queue:nothing"], 3, "there is no 'nothing'"),
        (["invoke", "nonsense"], 3, "there is no 'nonsense'"),
        (["send", "nonsense"], 3, "'nonsense' is not a function name"),
        (["emit", "no good"], 2, "an event cannot have the type 'no good'"),
        (["invoke", "shop.busy", "--timeout", "50ms"], 5, "shop.busy"),
    ],
)
async def test_what_fails_has_an_exit_code_and_one_message(shop, arguments, code, message):
    ended = await shop(*arguments)
    assert ended.code == code
    assert ended.out == ""
    assert ended.err.startswith("Error: ")
    assert message in ended.err
    assert "Traceback" not in ended.err


async def test_throttled(launch, shop, mesh):
    await launch("invoke", "shop.busy", EVENTMESH_URL=mesh.url)
    await mesh.line("^busy$")
    ended = await shop("invoke", "shop.busy")
    assert ended.code == 4
    assert "try again in" in ended.err


@pytest.mark.parametrize("command", [["invoke", "a.b"], ["send", "a.b"], ["emit", "a.b"]])
async def test_nothing_listens_there(run, command):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ended = await run(*command, EVENTMESH_URL=f"http://127.0.0.1:{port}")
    assert ended.code == 4
    assert f"127.0.0.1:{port}" in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["invoke", "shop.add", "{first: 1}"], "it is not JSON"),
        (
            ["invoke", "shop.add", "@nowhere.json"],
            "'nowhere.json' cannot be read: No such",
        ),
        (["invoke", "shop.add", "-H", "colour"], "'colour' is not a header: write NAME=VALUE"),
        (["invoke", "shop.add", "--timeout", "soon"], "'soon' is not a duration"),
        (["send", "shop.add", "--delay", "-1"], "'-1' is not a duration"),
        (["invoke", "shop.add", "--url", "nonsense"], "nonsense"),
    ],
)
async def test_wrong_usage(run, arguments, message):
    ended = await run(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err


async def test_an_interrupted_wait(launch, mesh):
    process = await launch("invoke", "shop.busy", EVENTMESH_URL=mesh.url)
    await mesh.line("^busy$")
    process.press_ctrl_c()
    assert await process.code() == 130
    await process.line("^Interrupted.$")
    assert process.lines == ["Interrupted."]


async def test_a_terminal_gets_the_result_indented(environment, mesh, tmp_path):
    ours, its = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "eventmesh", "invoke", "shop.echo", '{"cups": [1, 2]}'),
        env=environment | {"EVENTMESH_URL": mesh.url, "TERM": "dumb"},
        cwd=tmp_path,
        stdout=its,
    )
    assert await process.wait() == 0
    os.close(its)
    shown = os.read(ours, 10_000).decode().replace("\r\n", "\n")
    os.close(ours)
    assert json.loads(shown) == {"payload": {"cups": [1, 2]}, "colour": None}
    assert shown.startswith('{\n  "payload": {\n    "cups": [\n')


async def test_send_prints_the_id_under_which_it_is_run(shop, mesh):
    ended = await shop("send", "shop.note", '{"text": "tea"}')
    assert ended.code == 0
    assert re.fullmatch("[0-9a-f]{32}\n", ended.out)
    await mesh.line(f"^noted tea {ended.out.strip()}$")


async def test_send_later_under_an_id(shop, mesh):
    ended = await shop("send", "shop.note", '{"text": "later"}', "--delay", "10ms", "--id", "one")
    assert (ended.code, ended.out) == (0, "one\n")
    await mesh.line("^noted later one$")


async def test_emit(shop, mesh):
    ended = await shop(
        *("emit", "order.placed", '{"item": "tea"}'),
        *("--subject", "7", "--source", "/till", "--delay", "0.01"),
    )
    assert ended.code == 0
    await mesh.line(f"^ordered order.placed 7 /till tea {ended.out.strip()}$")


async def test_an_event_that_nobody_wants_is_no_fault(shop):
    assert (await shop("emit", "nobody.cares")).code == 0


async def test_functions_complete(ask, mesh):
    # It gives up after a moment, which a busy machine may need: whoever waits presses Tab again.
    ended = await ask(
        expect=lambda ended: ended.out.split(),
        EVENTMESH_URL=mesh.url,
        _EVENTMESH_COMPLETE="zsh_complete",
        COMP_WORDS="eventmesh invoke shop.a",
        COMP_CWORD="2",
    )
    assert ended.out.split() == ["plain", "shop.add", "_"]


async def test_functions_do_not_complete_where_nothing_runs(run):
    ended = await run(
        EVENTMESH_URL="http://127.0.0.1:1",
        _EVENTMESH_COMPLETE="zsh_complete",
        COMP_WORDS="eventmesh invoke shop.a",
        COMP_CWORD="2",
    )
    assert (ended.code, ended.out.strip(), ended.err) == (0, "", "")
