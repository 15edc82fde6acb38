"""What operators do on the screens of timers, executions and findings, with made-up data.

Each run takes their pictures. EVENTMESH_TEST_PICTURES names the folder that gets them, such as
docs/images.
"""

import os
import re
from pathlib import Path

import pytest
from console_keys import go_by_keys
from playwright.async_api import expect

CRON = "cron 0 3 * * * (UTC)"
PICTURES = {"timers": "timers", "execution": "executions/e-1", "doctor": "doctor?level=all"}


async def test_a_timer_is_run_paused_and_resumed(console, page):
    async with console.serve() as url:
        await page.goto(f"{url}timers")
        await page.get_by_role("button", name=f"Run orders.place {CRON} now").click()
        await expect(page.get_by_text(f"orders.place: {CRON} has fired.")).to_be_visible()
        await page.get_by_role("button", name=f"Pause orders.place {CRON}").click()
        await page.get_by_role("button", name="Cancel").click()
        assert len(console.posted) == 1
        await page.get_by_role("button", name=f"Pause orders.place {CRON}").click()
        await page.get_by_role("dialog").get_by_role("button", name="Pause").click()
        await expect(page.get_by_text(f"orders.place: {CRON} is paused.")).to_be_visible()
        await page.get_by_role("button", name=f"Resume pricing.quote {CRON}").click()
        await expect(page.get_by_text(f"pricing.quote: {CRON} fires again.")).to_be_visible()
        assert page.errors == []
    assert console.posted == [
        ("timers/orders.place/run", {"schedule": CRON}),
        ("timers/orders.place/pause", {"schedule": CRON}),
        ("timers/pricing.quote/resume", {"schedule": CRON}),
    ]


async def test_timers_are_filtered_and_the_address_says_how(console, page):
    async with console.serve() as url:
        await page.goto(f"{url}timers")
        await page.get_by_label("State").select_option("paused")
        await expect(page.get_by_role("row")).to_have_count(2)
        await page.reload()
        await expect(page.get_by_role("row")).to_have_count(2)
        await expect(page.get_by_role("row").last).to_contain_text("pricing.quote")
        await page.get_by_label("Function or schedule").fill("nothing")
        await expect(page.get_by_text("No timer matches")).to_be_visible()


async def test_an_execution_shows_its_history_and_is_stopped(console, page):
    async with console.serve() as url:
        await page.goto(f"{url}executions")
        await page.get_by_role("link", name="e-1").click()
        history = page.get_by_role("list", name="History")
        await expect(history.get_by_role("listitem")).to_have_count(2)
        await expect(history).to_contain_text("step succeeded")
        await page.get_by_role("button", name="Stop…").click()
        await page.get_by_role("dialog").get_by_role("button", name="Stop").click()
        await expect(page.get_by_text("e-1 is stopped.")).to_be_visible()
        assert page.errors == []
    assert console.posted == [("executions/e-1/stop", {"reason": "stopped at the console"})]


async def test_a_callback_is_completed_by_its_secret_id(console, page):
    async with console.serve() as url:
        await page.goto(f"{url}executions/e-1")
        await page.get_by_label("Id of the callback").fill("secret")
        await page.get_by_role("textbox", name="Result").fill('{"paid": true}')
        await page.get_by_role("button", name="Complete").click()
        await expect(page.get_by_text("It is stored.")).to_be_visible()
        await expect(page.get_by_label("Id of the callback")).to_have_value("")
        assert "secret" not in page.url
    assert console.posted == [("callbacks", {"callback": "secret", "result": {"paid": True}})]


async def test_findings_say_what_to_do(console, page):
    async with console.serve() as url:
        await page.goto(f"{url}doctor")
        row = page.get_by_role("row", name=re.compile("em.inbox.orders.place"))
        await expect(row).to_contain_text("start the service orders")
        await expect(page.get_by_text("1 check passed.")).to_be_visible()
        console.answers["findings"]["findings"].clear()
        await page.get_by_role("button", name="Examine again").click()
        await expect(page.get_by_text("Nothing is wrong")).to_be_visible()


async def test_who_may_only_read_changes_none_of_them(console, page):
    console.me |= {"read_only": True}
    async with console.serve() as url:
        for path in ("timers", "executions/e-1"):
            await page.goto(url + path)
            await expect(page.get_by_text("Read only")).to_be_visible()
            await expect(page.get_by_text("Loading…")).to_have_count(0)
            for name in ("Run", "Pause", "Resume", "Stop", "Complete"):
                actions = page.get_by_role("button", name=re.compile(f"^{name}"))
                await expect(actions).to_have_count(0)


async def test_shortcuts_lead_to_them(console, page):
    async with console.serve() as url:
        await page.goto(url)
        await expect(page.get_by_text("Live", exact=True)).to_be_visible()
        for key, title in {"t": "Timers", "e": "Executions", "h": "Doctor"}.items():
            await go_by_keys(page, key, title)


@pytest.mark.parametrize("name", PICTURES)
async def test_take_a_picture(console, page, tmp_path, name):
    folder = Path(os.environ.get("EVENTMESH_TEST_PICTURES") or tmp_path)
    await page.set_viewport_size({"width": 1280, "height": 800})
    async with console.serve() as url:
        await page.goto(url + PICTURES[name])
        await expect(page.locator("main h1")).to_be_visible()
        await expect(page.get_by_text("Loading…")).to_have_count(0)
        await page.screenshot(path=folder / f"console-{name}.png", animations="disabled")
        assert page.errors == []


async def test_an_instance_is_drained(console, page):
    console.me |= {"mode": "console"}
    async with console.serve() as url:
        await page.goto(f"{url}instances")
        await page.get_by_role("button", name="Drain web-1 71").click()
        await page.get_by_role("dialog").get_by_role("button", name="Drain").click()
        await expect(page.get_by_text("web-1 · 71 takes no more work")).to_be_visible()
        assert console.posted == [("instances/i1/drain", {})]
        console.me |= {"mode": "dev"}
        await page.reload()
        await expect(page.get_by_role("row")).to_have_count(2)
        await expect(page.get_by_role("button", name=re.compile("^Drain"))).to_have_count(0)
        assert page.errors == []
