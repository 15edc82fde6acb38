import json
import re

import pytest

APP = """
import sys
from eventmesh import Reject, Service

service = Service("shop")
stock = []

@service.function(on_failure="shop.told")
async def order(item: str) -> None:
    if item not in stock:
        raise Reject(f"no [bold]{item}[/bold]")
    print("ordered", item, file=sys.stderr, flush=True)

@service.function
async def told(record: dict) -> None:
    print("told of", record["id"], file=sys.stderr, flush=True)

@service.function
async def deliver(item: str) -> None:
    stock.append(item)
"""

TEA = '{"item": "tea"}'


@pytest.fixture
async def letters(shop, mesh):
    """Three dead letters: one, two and three."""
    for id in ("one", "two", "three"):
        assert (await shop("send", "shop.order", TEA, "--id", id)).code == 0
        await mesh.line(f"^told of {id}$")


async def listed(shop, *options):
    ended = await shop("dlq", "list", "shop.order", "--json", *options)
    assert ended.code == 0
    return [letter["id"] for letter in json.loads(ended.out)]


async def test_list(shop, letters):
    assert await listed(shop) == ["one", "two", "three"]
    assert await listed(shop, "--limit", "2") == ["one", "two"]
    table = (await shop("dlq", "list", "shop.order")).out
    assert all(id in table for id in ("one", "two", "three"))
    assert "no [bold]tea[/bold]" in table


async def test_all_functions_are_counted(shop, letters):
    (counted,) = json.loads((await shop("dlq", "list", "--json")).out)
    assert (counted["function"], counted["count"]) == ("shop.order", 3)
    assert 0 < counted["oldest"] <= counted["newest"]
    table = (await shop("dlq", "list")).out
    assert re.search(r"│ shop\.order +│ 3 +│ \d+[sm] +│ \d+[sm] +│", table)


async def test_no_function_has_dead_letters(shop):
    assert (await shop("dlq", "list")).out == "No dead letters.\n"
    assert (await shop("dlq", "list", "--json")).out == "[]\n"


async def test_a_limit_goes_with_a_name(run):
    ended = await run("dlq", "list", "--limit", "2")
    assert ended.code == 2
    assert "--limit goes with a NAME" in ended.err


async def test_a_function_without_dead_letters(shop):
    assert await listed(shop) == []


async def test_show(shop, letters):
    shown = (await shop("dlq", "show", "shop.order", "two")).out
    for fact in ("Id: +two", r"Function: +shop\.order", "Attempts: +1", 'Payload: +{"item":"tea"}'):
        assert re.search(f"^{fact}$", shown, re.MULTILINE), fact
    letter = json.loads((await shop("dlq", "show", "shop.order", "two", "--json")).out)
    assert (letter["id"], letter["payload"], letter["attempts"]) == ("two", {"item": "tea"}, 1)


@pytest.mark.parametrize("command", ["show shop.order x", "redrive shop.order --id x"])
async def test_one_that_is_not_there(shop, command):
    ended = await shop("dlq", *command.split())
    assert ended.code == 3
    assert "there is no 'dead letter x'" in ended.err


async def test_redrive(shop, mesh, letters):
    assert (await shop("invoke", "shop.deliver", TEA)).code == 0
    ended = await shop("dlq", "redrive", "shop.order", "--id", "two")
    assert ended.out == "1 dead letter of shop.order delivered again\n"
    await mesh.line("^ordered tea$")
    assert await listed(shop) == ["one", "three"]
    ended = await shop("dlq", "redrive", "shop.order", "--limit", "1")
    assert ended.out == "1 dead letter of shop.order delivered again\n"
    await mesh.line("^ordered tea$")
    assert await listed(shop) == ["three"]
    ended = await shop("dlq", "redrive", "shop.order", "--all")
    await mesh.line("^ordered tea$")
    assert await listed(shop) == []


@pytest.mark.parametrize("options", [[], ["--all", "--limit=1"], ["--id=one", "--limit=1"]])
async def test_redrive_wants_to_know_which_ones(run, options):
    ended = await run("dlq", "redrive", "shop.order", *options)
    assert ended.code == 2
    assert "say which ones" in ended.err


async def test_purge_asks(shop, letters):
    declined = await shop("dlq", "purge", "shop.order", given="n\n")
    assert (declined.code, declined.out) == (130, "")
    assert "Drop all dead letters of shop.order for good? [y/N]" in declined.err
    assert len(await listed(shop)) == 3
    confirmed = await shop("dlq", "purge", "shop.order", given="y\n")
    assert (confirmed.code, confirmed.out) == (0, "3 dead letters of shop.order dropped\n")
    assert await listed(shop) == []


async def test_purge_without_asking(shop, letters):
    assert (await shop("dlq", "purge", "shop.order", "--yes")).code == 0
    assert await listed(shop) == []


async def test_an_interrupted_question(shop, letters):
    ended = await shop("dlq", "purge", "shop.order", given="")
    assert ended.code == 130
    assert len(await listed(shop)) == 3
