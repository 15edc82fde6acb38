"""The shop in real containers: built, started and removed once for all tests here.

Give `make e2e` the engine with DOCKER_HOST, as docker itself takes it. What the containers printed
is kept in build/e2e when a test has failed.
"""

import os
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio
from composed import Failed, composed, run
from machine import free_ports
from shopping import Shop

ROOT = Path(__file__).parents[2]
FILES = (ROOT / "compose.yaml", Path(__file__).with_name("compose.test.yaml"))
POSTGRES = Path(__file__).with_name("postgres.Dockerfile")
ARTEFACTS = ROOT / "build" / "e2e"
IMAGES = (
    *("orders", "inventory", "payments", "notifications", "reports"),
    *("shop-gateway", "shop-provider", "shop-carrier", "shop-mailbox"),
)

_failed = pytest.StashKey[bool]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """All on one event loop: that of the session, in which the shop lives."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if report.failed:
        item.session.stash[_failed] = True
    return report


@pytest.fixture(scope="session")
def say(request):
    """Print a figure to the screen, also of a test that passes."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(text):
        with capture.global_and_fixture_disabled():
            print(f"\n    {text}", flush=True)

    return say


@pytest.fixture(scope="session")
def keep_logs(request):
    """Keep what the containers of a project have printed if a test has failed so far."""

    async def keep_logs(project):
        if request.session.stash.get(_failed, False):
            await project.save_logs(ARTEFACTS)

    return keep_logs


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def project(request, say, keep_logs):
    """The compose project of a clone, healthy."""
    await run("make", "secrets", cwd=ROOT)
    tag = f"test-{uuid4().hex[:8]}"
    (port,) = free_ports(1)
    environment = {"TAG": tag, "GATEWAY_PORT": str(port)}
    async with (
        postgres_image(tag, say) as environment["POSTGRES_IMAGE"],
        composed(tag, ROOT, *FILES, **environment) as project,
    ):
        project.url = f"http://127.0.0.1:{port}"
        project.postgres_image = environment["POSTGRES_IMAGE"]
        project.images = [f"{image}:{tag}" for image in IMAGES]
        say(f"built in {await project.timed('build', '--quiet'):.0f} s")
        say(f"built again in {await project.timed('build', '--quiet'):.1f} s")
        try:
            request.session.stash[_failed] = True
            say(f"up and healthy in {await project.timed('up', '--detach', '--wait'):.0f} s")
            request.session.stash[_failed] = False
            yield project
        finally:
            await keep_logs(project)
            say(f"down in {await project.timed('down'):.0f} s")
            await run("docker", "image", "rm", *project.images)


@asynccontextmanager
async def postgres_image(tag, say):
    """The official image, or one of Debian's package where that cannot be had."""
    image = os.environ.get("POSTGRES_IMAGE", "postgres:17")
    try:
        await run("sh", "-c", f"docker image inspect {image} || docker pull {image}", seconds=120)
    except (Failed, TimeoutError):
        image = f"shop-postgres:{tag}"
        base = os.environ.get("BASE", "python:3.13-slim")
        dockerfile = POSTGRES.read_text()
        arguments = ("--quiet", "--build-arg", f"BASE={base}", "--tag", image, "-")
        await run("docker", "build", *arguments, standard_input=dockerfile)
        say(f"the official image cannot be had: PostgreSQL is {image}, of Debian's package")
        try:
            yield image
        finally:
            await run("docker", "image", "rm", image)
    else:
        yield image


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shop(project):
    """The shop behind its gateway."""
    timeout = aiohttp.ClientTimeout(total=60)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(project.url, timeout=timeout, connector=connector) as client:
        yield Shop(client)
