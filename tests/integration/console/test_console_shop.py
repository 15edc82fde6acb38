"""The console's page while the shop runs, by `eventmesh dev` and over RabbitMQ.

A shop and a browser go through much in one test, because starting them takes longer than the rest.
The pictures of the docs are taken on the way, each time: EVENTMESH_TEST_PICTURES names the folder
that gets them (`make pictures`).
"""

import asyncio
import os
import re
from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe
from console_shop import open_watched_shop
from playwright.async_api import expect

DELIVER = "notifications.deliver"
TYPO = "bob@exmaple.com"
SCREENS = (
    "",
    "functions",
    "invocations",
    "failures",
    "timers",
    "executions",
    "queues",
    "instances",
    "doctor",
)


@pytest.fixture(params=["dev", "rabbitmq"])
def rabbit(request):
    """The RabbitMQ that is to carry the messages; None for the embedded broker."""
    return request.getfixturevalue("node") if request.param == "rabbitmq" else None


@pytest.fixture
async def watched(rabbit, tmp_path):
    broker = "" if rabbit is None else await rabbit.new_virtual_host()
    async with open_watched_shop(tmp_path, broker) as shop:
        yield shop


async def test_a_day_at_the_shop(watched, page):
    await see_all_functions(watched, page)
    await follow_an_order(watched, page)
    await see_what_fires_what(watched, page)
    await invoke_a_function(watched, page)
    assert page.errors == []


async def test_a_bad_day_at_the_shop(watched, page):
    await mend_what_failed(watched, page)
    await lose_the_connection(watched, page)
    await everybody_can_use_it(watched, page)
    unreached = re.compile("Failed to load resource: net::")
    assert [error for error in page.errors if not unreached.match(error)] == []


async def see_all_functions(watched, page):
    await page.goto(watched.console)
    for name in ("orders.place_order", "payments.charge", "reports.close_day"):
        await expect(page.get_by_role("link", name=re.compile(f"^{name}:"))).to_be_visible()
    await page.get_by_role("link", name=re.compile("^orders.confirm:")).click()
    await expect(page.locator("h1")).to_have_text("orders.confirm")


async def follow_an_order(watched, page):
    """What an order causes is shown without a reload, and as one chain."""
    runs = page.get_by_role("region", name="Ended invocations").get_by_role("row")
    await expect(page.get_by_text("None ended while the console looked.")).to_be_visible()
    invocation, order = await watched.order()
    await watched.shop.closed(order)
    await watched.mail_server.wait_for("ada@example.com")
    await expect(runs).to_have_count(2)
    await expect(runs.last).to_contain_text("orders.confirm")

    await page.goto(f"{watched.console}invocations/{invocation}")
    chain = page.locator("section", has_text="What it was a part of")
    for name in ("orders.place_order", "inventory.reserve", "payments.charge", "orders.confirm"):
        await expect(chain.get_by_text(name).first).to_be_visible()
    await take_picture(page, "invocation")


async def see_what_fires_what(watched, page):
    """What functions were seen to invoke, send and emit is drawn, and how often."""
    async with asyncio.TaskGroup() as orders:
        for _ in range(12):
            orders.create_task(watched.order())
    await watched.mail_server.wait_for(*["ada@example.com"] * 13)
    await page.goto(f"{watched.console}functions/orders.place_order")
    await expect(page.get_by_role("term").filter(has_text="Rate")).to_be_visible()
    await expect(page.locator("dl.tiles")).to_contain_text("13 0 failed")
    await watched.order()
    await expect(page.locator("dl.tiles")).to_contain_text("14 0 failed")
    await watched.mail_server.wait_for(*["ada@example.com"] * 14)
    await take_picture(page, "function")
    await page.goto(watched.console)
    await expect(page.locator("svg .edge")).not_to_have_count(0)
    await page.get_by_role("button", name="Fit").click()
    await take_picture(page, "map")


async def mend_what_failed(watched, page):
    """Three mails are refused: one has a wrong address, and for two the mail server is mended."""
    watched.mail_server.refused = {"ada@example.com", TYPO}
    await page.goto(watched.console)
    _, wrong = await watched.order(TYPO)
    for _ in range(2):
        await watched.order()
    await expect(page.get_by_role("link", name=re.compile("^Failures 3"))).to_be_visible()
    await page.get_by_role("link", name=re.compile("^Failures")).click()
    await page.get_by_role("link", name=DELIVER).click()
    await expect(page.locator("h1")).to_have_text(DELIVER)
    letters = page.get_by_role("region", name="Dead letters").get_by_role("row")
    await expect(letters).to_have_count(4)
    await take_picture(page, "failures")

    await page.get_by_role("link", name=re.compile(f"^{wrong}")).click()
    await expect(page.locator(".note.bad")).to_contain_text("550 nobody of that name")
    await page.go_back()
    await expect(letters).to_have_count(4)
    await page.go_forward()
    await page.reload()
    await page.get_by_role("button", name="Edit and retry").click()
    editor = page.get_by_role("textbox", name="Payload")
    await editor.fill((await editor.input_value()).replace("exmaple", "example"))
    await page.get_by_role("button", name="Send the edited copy").click()
    await expect(page.get_by_text("The edited copy is sent as")).to_be_visible()
    await watched.mail_server.wait_for("bob@example.com")

    await expect(letters).to_have_count(3)
    watched.mail_server.refused = set()
    await page.get_by_role("button", name="Retry group").click()
    await expect(page.get_by_text("2 will be run again.")).to_be_visible()
    await watched.mail_server.wait_for("ada@example.com", "ada@example.com", "bob@example.com")
    await expect(page.get_by_text("It has no dead letters now")).to_be_visible()
    await page.goto(f"{watched.console}failures")
    resolved = page.get_by_role("region", name="Resolved dead letters")
    await expect(resolved).to_contain_text("edited as")
    await expect(resolved.get_by_role("row")).to_have_count(4)


async def invoke_a_function(watched, page):
    """The form is made of the schema, and its example is there after a reload."""
    await page.goto(f"{watched.console}functions/inventory.put_item")
    await expect(page.get_by_text(re.compile(r"services/inventory/app\.py:\d+"))).to_be_visible()
    await page.get_by_label("Sku (required)").fill("pot")
    await page.get_by_label("Price (required)").fill("1200")
    await page.get_by_label("Available (required)").fill("3")
    await page.get_by_text("Saved examples (0)").click()
    await page.get_by_label("Name of the example").fill("three pots")
    await page.get_by_role("button", name="Save").click()
    await page.reload()
    await page.get_by_text("Saved examples (1)").click()
    await page.get_by_role("button", name="Use").click()
    await page.get_by_role("button", name="Invoke").click()
    await expect(page.get_by_role("region", name="Result")).to_contain_text('"available": 3')
    await page.get_by_role("link", name=re.compile("^Invocation ")).click()
    await expect(page.locator("main")).to_contain_text("inventory.put_item")
    await page.get_by_role("button", name="Replay").click()
    await expect(page.get_by_role("region", name="Result")).to_contain_text('"available": 3')
    stock = {item["sku"]: item["available"] for item in await watched.shop.get("/inventory/items")}
    assert stock["pot"] == 3


async def lose_the_connection(watched, page):
    await page.goto(f"{watched.console}functions")
    live = page.get_by_text("Live", exact=True)
    await expect(live).to_be_visible()
    await watched.network.refuse()
    watched.network.reset()
    await expect(page.get_by_text("Connection lost, trying again…")).to_be_visible()
    await expect(page.get_by_role("row", name=re.compile("orders.place_order"))).to_be_visible()
    await watched.network.forward()
    await expect(live).to_be_visible()


async def everybody_can_use_it(watched, page):
    for path in SCREENS:
        await page.goto(watched.console + path)
        await expect(page.locator("main h1")).to_be_visible()
        await expect(page.get_by_text("Loading…")).to_have_count(0)
        found = await Axe().run(page)
        assert found.response["violations"] == [], path


async def take_picture(page, name):
    folder = os.environ.get("EVENTMESH_TEST_PICTURES")
    path = Path(folder) / f"console-{name}.png" if folder else None
    await page.screenshot(path=path, animations="disabled")
