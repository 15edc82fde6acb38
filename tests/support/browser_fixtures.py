"""A browser, for tests that use pages as people do.

It is Chromium, driven by Playwright: the program that EVENTMESH_TEST_BROWSER names, the one that is
installed, or Debian's package, which is installed where the tests run as root.
"""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from machine import run

PROGRAM_VARIABLE = "EVENTMESH_TEST_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome")
INSTALL_SECONDS = 600
TIMEOUT_MILLISECONDS = 60_000
"""A browser on a busy machine: how long something takes decides no test."""

# In a container there are no namespaces for its sandbox; it looks at pages of these tests alone.
ARGUMENTS = ("--no-sandbox", "--disable-quic", "--disable-background-networking")


def find_or_install():
    """Return the path of the browser's program."""
    named = os.environ.get(PROGRAM_VARIABLE)
    if named:
        return named
    # One at a time: all worker processes of the tests ask at once.
    with (Path(tempfile.gettempdir()) / "eventmesh-packages.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = _installed()
        if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
            environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            run(["apt-get", "update", "-qq"], environment, INSTALL_SECONDS)
            install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"]
            run(install, environment, INSTALL_SECONDS)
            found = _installed()
    if found is None:
        raise RuntimeError(
            "there is no browser to test with: install one (on Debian: apt-get install chromium), "
            f"or say in {PROGRAM_VARIABLE} where one is"
        )
    return found


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
            executable_path=browser_program, args=list(ARGUMENTS)
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
