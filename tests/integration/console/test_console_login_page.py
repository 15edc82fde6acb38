"""Logging in and out on the console's page, as people do."""

import pytest
from axe_playwright_python.async_playwright import Axe
from console_login import open_console
from playwright.async_api import expect

from eventmesh.service import Service

# Another site than the provider's, 127.0.0.1: what cookies come along is then as it is at work.
HOST = "localhost"


@pytest.fixture
def shop():
    service = Service("shop", version="1.4")

    @service.function
    async def sell(item: str) -> str:
        """Sell one."""
        return f"sold {item}"

    return service


async def test_people_log_in_change_something_and_log_out(provider, shop, page):
    provider.asks = True
    async with open_console(provider, [shop], HOST) as origin:
        await page.goto(f"{origin}/_console/functions/shop.sell")
        await expect(page.get_by_label("token")).to_have_count(0)
        assert (await Axe().run(page)).response["violations"] == []
        await page.get_by_role("button", name="Log in").click()
        await page.get_by_role("link", name="Log in as Ada").click()
        await page.wait_for_url(f"{origin}/_console/functions/shop.sell")
        await expect(page.get_by_text("oidc:ada")).to_be_visible()
        assert await page.evaluate("document.cookie") == ""
        await page.get_by_label("item (required)").fill("tea")
        await page.get_by_role("button", name="Invoke").click()
        await expect(page.get_by_role("region", name="Result")).to_contain_text("sold tea")
        await page.reload()
        await expect(page.locator("h1")).to_have_text("shop.sell")
        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_role("button", name="Log in")).to_be_visible()
        await expect(page.get_by_text("oidc:ada")).to_have_count(0)
        # The provider has no icon, and before and after there is nobody who may look.
        refused = "the server responded with a status of 401"
        own = [error for error in page.errors if provider.url not in error]
        assert [error for error in own if refused not in error] == []


async def test_the_page_fits_a_phone_and_takes_tokens_too(provider, shop, page, make_auth_file):
    file, token = make_auth_file("ci", "read")
    await page.set_viewport_size({"width": 360, "height": 740})
    async with open_console(provider, [shop], HOST, auth_file=file) as origin:
        await page.goto(f"{origin}/_console/functions")
        await page.get_by_label("Or a token").fill("em_wrong")
        await page.get_by_role("button", name="Use the token").click()
        await page.get_by_role("button", name="Log in").click()
        await expect(page.get_by_role("button", name="Log out")).to_be_visible()
        await expect(page.get_by_role("link", name="shop.sell")).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360
        await page.get_by_role("button", name="Log out").click()
        await page.get_by_label("Or a token").fill(token)
        await page.get_by_role("button", name="Use the token").click()
        await expect(page.get_by_role("link", name="shop.sell")).to_be_visible()
        await expect(page.get_by_role("button", name="Log out")).to_have_count(0)
