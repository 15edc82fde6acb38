"""What the console's page says of code that is saved while `eventmesh dev` runs it."""

import re

import aiohttp
import pytest
from axe_playwright_python.async_playwright import Axe
from console_data import make_problem
from launching import clean_environment, launched
from playwright.async_api import expect

HELLO = """
from eventmesh import Service, on

service = Service("greeter")

@service.function(on.get("/hello"), timeout={timeout})
async def hello(name: {type} = {default}) -> str:
    return "hello"
"""
OTHER = """
@service.function
async def other() -> None: ...
"""
FIRST = HELLO.format(timeout=30, type="str", default='"you"')
CHANGED = HELLO.format(timeout=5, type="int", default=1) + OTHER
BROKEN = "import words\n" + CHANGED
UNREACHED = re.compile("Failed to load resource: ")


@pytest.fixture
def save(tmp_path):
    """Save a file, as an editor does."""

    def save(text, name="app.py"):
        written = tmp_path / f"{name}.new"
        written.write_text(text)
        written.replace(tmp_path / name)

    return save


@pytest.fixture
async def process(tmp_path, save):
    """A service that `eventmesh dev` restarts, at `url`."""
    save(FIRST)
    arguments = ("dev", "--port=0", "--admin-port=0", "app.py")
    environment = clean_environment()
    async with launched(*arguments, cwd=tmp_path, environment=environment) as process:
        process.url = await process.started()
        yield process


async def test_files_are_saved_three_times(process, page, save):
    await page.goto(f"{process.url}/_console/code")
    await expect(page.get_by_text("Nothing was saved yet")).to_be_visible()

    save(CHANGED)
    changes = page.get_by_role("region", name="Changes")
    hello = changes.get_by_role("row", name="greeter.hello")
    await expect(hello).to_contain_text("timeout 30.0 → 5.0")
    await expect(hello).to_contain_text('payload.properties.name.type "string" → "integer"')
    await expect(changes.get_by_role("row", name="greeter.other")).to_contain_text("added")
    await see_the_log(process, page)

    # The module that it imports is saved first, and what is wrong is there.
    save("\n\nraise RuntimeError('<b>no words</b>')\n", "words.py")
    save(BROKEN)
    note = page.get_by_role("alert")
    await expect(note).to_contain_text("The code that was saved does not run.")
    await expect(note).to_contain_text("RuntimeError: <b>no words</b>")
    traceback = page.get_by_role("region", name="Traceback")
    await expect(traceback).to_contain_text("app.py:1, in <module>")
    await expect(traceback).to_contain_text("words.py:3, in <module>")
    await expect(page.get_by_text("Nothing runs: the process of the code before")).to_be_visible()
    await expect(changes).to_have_count(0)
    # So do the other screens, which show nothing that does not run any more.
    await page.get_by_role("link", name="Functions").click()
    await expect(note).to_contain_text("RuntimeError")
    await expect(page.get_by_text("greeter.hello")).to_have_count(0)

    save("WORDS = 1\n", "words.py")
    await expect(page.get_by_role("link", name="greeter.hello")).to_be_visible()
    await expect(note).to_have_count(0)
    await page.get_by_role("link", name="Code").click()
    await expect(page.get_by_text("No declaration has changed.")).to_be_visible()
    await expect(page.get_by_text("words.py")).to_be_visible()
    assert [error for error in page.errors if not UNREACHED.match(error)] == []


async def see_the_log(process, page):
    """What is logged while somebody looks is shown without a reload."""
    async with aiohttp.ClientSession() as session, session.get(f"{process.url}/hello") as answer:
        assert answer.status == 200
    log = page.get_by_role("region", name="Log")
    await expect(log).to_contain_text("eventmesh.access: GET /hello 200")
    await expect(log).not_to_contain_text("_console")


async def test_code_that_is_broken_can_be_read_by_everybody(console, page):
    console.change(code={"problem": make_problem()})
    async with console.serve() as url:
        for theme in ("light", "dark"):
            await page.emulate_media(color_scheme=theme)
            await page.goto(f"{url}code")
            await expect(page.get_by_role("alert")).to_be_visible()
            found = await Axe().run(page)
            assert found.response["violations"] == []


async def test_a_mesh_that_is_not_under_development_has_no_such_screen(console, page):
    console.me["mode"] = "console"
    async with console.serve() as url:
        await page.goto(url)
        screens = page.get_by_role("navigation", name="Screens")
        await expect(screens.get_by_role("link", name="Functions")).to_be_visible()
        await expect(screens.get_by_role("link", name="Code")).to_have_count(0)
