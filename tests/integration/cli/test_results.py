import json

APP = """
import asyncio
import sys
from eventmesh import Service

service = Service("shop", store="sqlite:///store.db")

@service.function
async def order(item: str) -> dict[str, str]:
    if item == "slow":
        print("begun", file=sys.stderr, flush=True)
        await asyncio.Event().wait()
    return {"ordered": item}

@service.function(on_success="shop.told")
async def tell(item: str) -> None: ...

@service.function
async def told(record: dict) -> None:
    print("told of", record["id"], file=sys.stderr, flush=True)
"""


async def test_what_became_of_an_invocation_is_shown(shop, mesh):
    id = (await shop("send", "shop.tell", '{"item": "tea"}')).out.strip()
    await mesh.line(f"^told of {id}$")
    # The record is sent once that was noted.
    shown = await shop("result", id, "--function", "shop.tell")
    assert shown.code == 0
    assert f"id        {id}\nstate     succeeded\nattempt   1\n" in shown.out
    assert json.loads((await shop("result", id, "--json")).out)["result"] is None


async def test_a_run_and_what_is_not_known_yet_are_cancelled(shop, mesh):
    id = (await shop("send", "shop.order", '{"item": "slow"}')).out.strip()
    await mesh.line("^begun$")
    told = await shop("cancel", id)
    assert (told.code, told.out) == (0, f"{id} of shop.order runs, and was told to end\n")
    while "cancelled" not in (await shop("result", id)).out:
        pass

    later = (await shop("send", "shop.order", '{"item": "tea"}', "--delay", "1h")).out.strip()
    unknown = await shop("cancel", later)
    assert unknown.code == 3
    assert "no service remembers it" in unknown.err
    cancelled = await shop("cancel", later, "--function", "shop.order")
    assert (cancelled.code, cancelled.out) == (0, f"{later} of shop.order is cancelled\n")
    again = await shop("cancel", id, "--function", "shop.order")
    assert again.out == f"{id} of shop.order is cancelled\n"


async def test_what_no_service_knows_is_not_found(shop):
    missing = await shop("result", "unknown")
    assert missing.code == 3
    assert "there is no 'invocation unknown'" in missing.err
