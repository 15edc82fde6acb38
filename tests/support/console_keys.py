"""Shortcuts of the console's page, typed as fast as the machine lets us."""

import asyncio

from playwright.async_api import expect

DEADLINE = 60
TRIAL_MILLISECONDS = 5_000


async def go_by_keys(page, key, title):
    """Type `g` and a key until the screen of that title is shown.

    The second key counts for a moment after the first one, which a busy machine may outlast.
    """
    shown = expect(page.locator("h1"))
    async with asyncio.timeout(DEADLINE):
        while True:
            await page.keyboard.press("g")
            await page.keyboard.press(key)
            try:
                await shown.to_have_text(title, timeout=TRIAL_MILLISECONDS)
            except AssertionError:
                continue
            return
