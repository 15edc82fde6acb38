"""What people see and do on the console's screens."""

import re

import pytest
from axe_playwright_python.async_playwright import Axe
from console_keys import go_by_keys
from fake_console import make_function
from playwright.async_api import expect

SCREENS = {
    "": "Map",
    "functions": "Functions",
    "functions/orders.place": "orders.place",
    "invocations": "Invocations",
    "invocations/r-1": "r-1",
    "failures": "Failures",
    "failures/mailer.receipt": "mailer.receipt",
    "failures/mailer.receipt/d-1": "d-1",
    "queues": "Queues",
    "instances": "Instances",
    "timers": "Timers",
    "executions": "Executions",
    "executions/e-1": "e-1",
    "doctor": "Doctor",
    "code": "Code",
    "nowhere": None,
}


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_everybody_can_use_each_screen(console, page, theme):
    await page.emulate_media(color_scheme=theme)
    async with console.serve() as url:
        for path, title in SCREENS.items():
            await page.goto(url + path)
            if title is not None:
                await expect(page.locator("h1")).to_have_text(title)
            await expect(page.get_by_text("Loading…")).to_have_count(0)
            found = await Axe().run(page)
            assert found.response["violations"] == [], path


async def test_it_fits_a_phone(console, page):
    await page.set_viewport_size({"width": 360, "height": 740})
    async with console.serve() as url:
        for path in SCREENS:
            await page.goto(url + path)
            await expect(page.locator("main > *").first).to_be_visible()
            await expect(page.get_by_text("Loading…")).to_have_count(0)
            assert await page.evaluate("document.documentElement.scrollWidth") <= 360, path


async def test_the_map_leads_to_functions_and_back(console, page):
    async with console.serve() as url:
        await page.goto(url)
        await page.get_by_role("link", name=re.compile("^orders.place: 12")).click()
        await expect(page.locator("h1")).to_have_text("orders.place")
        await page.reload()
        await expect(page.locator("h1")).to_have_text("orders.place")
        await page.go_back()
        await expect(page.locator("h1")).to_have_text("Map")
        await page.get_by_role("button", name="Fold orders").press("Enter")
        await expect(page.get_by_role("button", name="Unfold orders")).to_be_visible()
        await page.reload()
        await expect(page.get_by_role("button", name="Unfold orders")).to_be_visible()
        assert page.errors == []


async def test_what_happens_appears_without_a_reload(console, page):
    async with console.serve() as url:
        await page.goto(f"{url}functions")
        await expect(page.get_by_role("row")).to_have_count(4)
        console.change(functions={"stock.take": make_function("stock.take", rate=7.0)})
        row = page.get_by_role("row", name=re.compile("stock.take"))
        await expect(row).to_contain_text("7/s")
        console.change(functions={"stock.take": None})
        await expect(row).to_have_count(0)


async def test_a_lost_connection_is_shown_and_comes_back(console, page):
    async with console.serve() as url:
        port = int(url.split(":")[2].partition("/")[0])
        await page.goto(f"{url}functions")
        await expect(page.get_by_text("Live", exact=True)).to_be_visible()
    await expect(page.get_by_text("Connection lost, trying again…")).to_be_visible()
    await expect(page.get_by_role("row")).to_have_count(4)
    console.change(functions={"stock.take": make_function("stock.take")})
    async with console.serve(port):
        await expect(page.get_by_text("Live", exact=True)).to_be_visible()
        await expect(page.get_by_role("row")).to_have_count(5)


async def test_retry_a_group(console, letters, page):
    async with console.serve() as url:
        await page.goto(f"{url}failures")
        await page.get_by_role("link", name="mailer.receipt").click()
        retry = page.get_by_role("button", name="Retry group")
        await expect(retry).to_be_visible()  # It has been told of them.
        letters.clear()
        await retry.click()
        await expect(page.get_by_text("2 will be run again.")).to_be_visible()
        await expect(page.get_by_text("It has no dead letters now")).to_be_visible()
    assert console.posted == [("failures/mailer.receipt/retry", {"group": "full"})]


async def test_edit_and_retry(console, page):
    async with console.serve() as url:
        await page.goto(f"{url}failures/mailer.receipt/d-1")
        await page.get_by_role("button", name="Edit and retry").click()
        editor = page.get_by_role("textbox", name="Payload")
        await editor.fill("{")
        await expect(page.get_by_role("alert")).to_contain_text("No JSON")
        await editor.fill('{"to": "bob@example.com"}')
        await page.get_by_role("button", name="Send the edited copy").click()
        await expect(page.get_by_text("The edited copy is sent as d-1b.")).to_be_visible()
    posted = {"payload": {"to": "bob@example.com"}}
    assert console.posted == [("failures/mailer.receipt/d-1/retry", posted)]


async def test_discard_asks_first(console, page):
    async with console.serve() as url:
        await page.goto(f"{url}failures/mailer.receipt")
        await page.get_by_role("button", name="Discard").click()
        await page.get_by_role("button", name="Cancel").click()
        assert console.posted == []
        await page.get_by_role("button", name="Discard").click()
        await page.get_by_role("dialog").get_by_role("button", name="Discard").click()
        await expect(page.get_by_text("2 discarded.")).to_be_visible()
    assert console.posted == [("failures/mailer.receipt/discard", {"group": "full"})]


async def test_a_purge_needs_the_name_of_the_queue(console, page):
    name = "em.inbox.mailer.receipt"
    async with console.serve() as url:
        await page.goto(f"{url}queues")
        await page.get_by_role("button", name=f"Purge {name}").click()
        purge = page.get_by_role("button", name="Purge", exact=True)
        await expect(purge).to_be_disabled()
        await page.get_by_role("textbox").last.fill(name)
        await purge.click()
        await expect(page.get_by_text("7 messages were dropped")).to_be_visible()
    assert console.posted == [(f"queues/{name}/purge", {"confirm": name})]


async def test_invoke_with_a_form_and_keep_an_example(console, page):
    async with console.serve() as url:
        await page.goto(f"{url}functions/orders.place")
        await page.get_by_label("sku (required)").fill("tea")
        await page.get_by_label("count (required)").fill("3")
        await page.get_by_role("button", name="Invoke").click()
        await expect(page.get_by_role("region", name="Result")).to_contain_text('"total": 450')
        await page.get_by_text("Saved examples (0)").click()
        await page.get_by_label("Name of the example").fill("three teas")
        await page.get_by_role("button", name="Save").click()
        await page.reload()
        await page.get_by_text("Saved examples (1)").click()
        await page.get_by_role("button", name="Use").click()
        await expect(page.get_by_label("sku (required)")).to_have_value("tea")
    payload = {"sku": "tea", "lines": [{"count": 3}]}
    assert console.posted == [
        ("functions/orders.place/invoke", {"payload": payload, "mode": "sync"})
    ]


async def test_search_and_shortcuts(console, page):
    async with console.serve() as url:
        await page.goto(url)
        await expect(page.get_by_text("Live", exact=True)).to_be_visible()
        await page.keyboard.press("/")
        await page.keyboard.type("quote")
        await page.keyboard.press("Enter")
        await expect(page.locator("h1")).to_have_text("pricing.quote")
        await go_by_keys(page, "q", "Queues")
        await page.keyboard.press("?")
        await expect(page.get_by_role("dialog")).to_contain_text("Keyboard shortcuts")


# All that comes before the next key: no frame is drawn, and no timer fires.
TYPE_SLASH = """async () => {
  document.dispatchEvent(new KeyboardEvent("keydown", { key: "/" }));
  for (let turn = 0; turn < 100; turn++) await null;
  return document.activeElement.getAttribute("role");
}"""


async def test_the_search_gets_the_very_next_key(console, page):
    async with console.serve() as url:
        await page.goto(url)
        await expect(page.get_by_text("Live", exact=True)).to_be_visible()
        assert await page.evaluate(TYPE_SLASH) == "combobox"
        await page.keyboard.type("quote")
        await expect(page.get_by_role("combobox")).to_have_value("quote")
        await page.keyboard.press("Enter")
        await expect(page.locator("h1")).to_have_text("pricing.quote")


async def test_who_may_only_read_is_offered_nothing_else(console, page):
    console.me |= {"read_only": True}
    async with console.serve() as url:
        for path in ("failures/mailer.receipt", "queues", "instances", "functions/orders.place"):
            await page.goto(url + path)
            await expect(page.get_by_text("Read only")).to_be_visible()
            for name in ("Retry", "Discard", "Purge", "Invoke"):
                actions = page.get_by_role("button", name=re.compile(f"^{name}"))
                await expect(actions).to_have_count(0)


async def test_a_token_is_asked_for_and_sent(console, page):
    console.token = "secret"
    async with console.serve() as url:
        await page.goto(f"{url}functions")
        await page.get_by_label("Token").fill("secret")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("row")).to_have_count(4)


async def test_five_hundred_functions_are_folded_into_their_services(console, page):
    functions = {
        name: make_function(name, triggers=[{"kind": "http", "description": f"GET /{number}"}])
        for number in range(500)
        for name in [f"service{number % 25:02}.function_{number}"]
    }
    console.state["functions"] = functions
    async with console.serve() as url:
        await page.goto(url)
        await expect(page.get_by_role("button", name=re.compile("^Unfold "))).to_have_count(25)
        await page.get_by_role("button", name="Unfold service03").click()
        await expect(page.get_by_role("link", name=re.compile("^service03.f"))).to_have_count(20)
        await page.goto(f"{url}functions")
        await page.get_by_label("Name or trigger").fill("function_499")
        await expect(page.get_by_role("row")).to_have_count(2)
        assert page.errors == []


async def test_what_only_the_history_knows_is_shown_as_such(console, page):
    async with console.serve() as url:
        await page.goto(f"{url}invocations?function=orders.place")
        await expect(page.get_by_text("3 runs are missing in the history")).to_be_visible()
        row = page.get_by_role("row", name=re.compile("orders.place"))
        await expect(row).to_contain_text("from the history")
        await page.get_by_role("link", name="Older").click()
        await expect(page).to_have_url(re.compile(r"function=orders.place&before=12.5_0a"))
        await page.get_by_role("link", name="Newest").click()
        await expect(page).to_have_url(re.compile(r"invocations\?function=orders.place$"))
        await page.get_by_role("link", name="orders.place").click()
        await expect(page.get_by_text("no process remembers it any more")).to_be_visible()
        assert page.errors == []


async def test_a_history_that_cannot_be_read_is_said_to_be(console, page):
    answer = console.answers["invocations"]
    answer["history"] = {"keep": 60.0, "dropped": 0, "unavailable": "its database is away"}
    async with console.serve() as url:
        await page.goto(f"{url}invocations")
        await expect(page.get_by_text("its database is away")).to_be_visible()
        await expect(page.get_by_role("row")).to_have_count(3)
