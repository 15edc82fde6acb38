"""A browser, for tests that use pages as people do.

It is Chromium, driven by Playwright: the program that EVENTMESH_TEST_BROWSER names, the one that is
installed, or Debian's package, which is installed where the tests run as root.
"""

import os
import shutil

import packages
import pytest

PROGRAM_VARIABLE = "EVENTMESH_TEST_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome")
ADVICE = (
    "there is no browser to test with: install one (on Debian: apt-get install chromium), or say "
    f"in {PROGRAM_VARIABLE} where one is"
)
TIMEOUT_MILLISECONDS = 60_000
"""A browser on a busy machine: how long something takes decides no test."""

START_MILLISECONDS = 180_000
"""The same for its start."""

# In a container there are no namespaces for its sandbox; it looks at pages of these tests alone.
ARGUMENTS = ("--no-sandbox", "--disable-quic", "--disable-background-networking")


def find_or_install():
    """Return the path of the browser's program."""
    named = os.environ.get(PROGRAM_VARIABLE)
    if named:
        return named
    return packages.find_or_install(_installed, "chromium", ADVICE)


def _installed():
    return next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope="session")
def browser_program():
    """The path of the browser's program."""
    return find_or_install()


@pytest.fixture
async def browser(browser_program):
    """A browser of the test's own, with no page yet (playwright.async_api.Browser)."""
    # Only a test with a browser pays for loading it.
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=browser_program,
            args=list(ARGUMENTS),
            timeout=START_MILLISECONDS,
        )
        try:
            yield browser
        finally:
            await browser.close()


@pytest.fixture
async def page(browser):
    """A page of it, whose `errors` are what scripts raised and the browser complained about."""
    page = await browser.new_page()
    page.set_default_timeout(TIMEOUT_MILLISECONDS)
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on(
        "console",
        lambda said: (
            page.errors.append(f"{said.text} ({said.location['url']})")
            if said.type == "error"
            else None
        ),
    )
    return page
