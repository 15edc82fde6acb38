"""A stack on Docker Swarm: scaled through zero and back, and new versions tried under load."""

import asyncio
import json
import os
import re
import shutil
import time
from pathlib import Path
from uuid import uuid4

import pytest_asyncio
from composed import Failed, run

SWARM = Path(__file__).with_name("swarm")
ROOT = Path(__file__).parents[2]
EVENTMESH = ROOT / ".venv" / "bin" / "eventmesh"

CALM = 15.0
"""Seconds in which fewer replicas must have been enough."""

UNUSED_QUEUE = 60.0
"""Seconds after which RabbitMQ deletes a queue of callers that nobody looks at."""


class Stack:
    """The stack as an operator sees it."""

    def __init__(self, name):
        self.name = name

    async def replicas(self):
        """How many replicas of each service run, and how many are wanted."""
        listed = await run(
            *("docker", "stack", "services", self.name, "--format", "{{.Name}} {{.Replicas}}")
        )
        lines = [line.split() for line in listed.splitlines()]
        return {
            name.removeprefix(f"{self.name}_"): tuple(map(int, re.findall(r"\d+", count)[:2]))
            for name, count in lines
        }

    async def wait(self, seconds=180, **wanted):
        """Wait until services have so many replicas, running and wanted; how long that took."""
        began = time.monotonic()
        async with asyncio.timeout(seconds):
            while True:
                found = await self.replicas()
                if all(found.get(name) == (count, count) for name, count in wanted.items()):
                    return time.monotonic() - began
                await asyncio.sleep(0.5)

    async def execute(self, *command, seconds=600):
        """Run a command in the container of the autoscaler; what it prints."""
        ids = await run("docker", "ps", "--quiet", "--filter", f"name={self.name}_autoscaler.1")
        return await run("docker", "exec", ids.split()[0], *command, seconds=seconds)

    async def load(self, rate, seconds):
        """Place orders at a rate; what became of them."""
        printed = await self.execute(
            *("python", "/app/swarm/driver.py", "load", str(rate), str(seconds))
        )
        return json.loads(printed)

    async def audited(self):
        """The books, once every accepted order is in them."""
        async with asyncio.timeout(180):
            while True:
                found = json.loads(await self.execute("python", "/app/swarm/driver.py", "audit"))
                if not found["missing"]:
                    return found
                await asyncio.sleep(1)

    async def deploy(self, *arguments):
        return await self.execute(
            *("eventmesh", "deploy", "--project", self.name, "--share", "25%", "--bake", "15s"),
            *arguments,
        )

    async def decisions(self):
        """What the autoscaler has said, without what surrounds it."""
        logs = await self.logs("autoscaler", "--raw")
        records = [json.loads(line) for line in logs.splitlines() if line.startswith("{")]
        return [
            f"{each['timestamp'][11:19]} {each['message']}"
            for each in records
            if each.get("kind") in ("out", "in")
        ]

    async def logs(self, service, *options):
        """What the replicas of a service have printed, to whichever stream."""
        command = ("docker", "service", "logs", *options, f"{self.name}_{service}")
        return await run("sh", "-c", 'exec "$@" 2>&1', "sh", *command)

    async def save_logs(self, folder):
        """Keep what the replicas of all services have printed."""
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        printed = await run("docker", "stack", "ps", "--no-trunc", self.name)
        for service in await self.replicas():
            printed += await self.logs(service, "--timestamps", "--no-trunc")
        file = folder / f"{self.name}.log"
        await asyncio.to_thread(file.write_text, printed, "utf-8")

    async def remove(self):
        await run("docker", "stack", "rm", self.name)
        async with asyncio.timeout(120):
            while await run("docker", "ps", "--all", "--quiet", "--filter", f"name={self.name}_"):
                await asyncio.sleep(0.5)
        await run("docker", "volume", "rm", "--force", f"{self.name}_ledger")


async def count_nodes():
    return int(await run("docker", "info", "--format", "{{.Swarm.Nodes}}"))


@pytest_asyncio.fixture(loop_scope="session")
async def stack(tmp_path, say, keep_logs):
    """A stack on the swarm of the engine, which is made for it where there is none."""
    name = f"mesh{uuid4().hex[:6]}"
    made = not await count_nodes()
    if made:
        await run("docker", "swarm", "init", "--advertise-addr", "127.0.0.1")
    stack = Stack(name)
    try:
        await asyncio.to_thread(shutil.copytree, SWARM, tmp_path / "swarm")
        await run(str(EVENTMESH), "build", "swarm", "--tag", f"{name}-1", cwd=tmp_path)
        for tag, change in (("2", "LABEL release=2"), ("bad", "ENV SALES_FAULTY=1")):
            dockerfile = f"FROM swarm:{name}-1\n{change}\n"
            await run(
                *("docker", "build", "--tag", f"swarm:{name}-{tag}", "-"), standard_input=dockerfile
            )
        socket = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        await run(
            *("docker", "stack", "deploy", "--detach=true", "--resolve-image", "never"),
            *("--compose-file", str(SWARM / "stack.yaml"), name),
            environment={
                "STACK": name,
                "IMAGE": f"swarm:{name}-1",
                "CALM": f"{CALM:g}s",
                "DOCKER_SOCKET": socket.removeprefix("unix://"),
            },
        )
        took = await stack.wait(rabbitmq=1, gateway=1, autoscaler=1)
        say(f"the stack runs after {took:.0f} s")
        yield stack
    finally:
        await keep_logs(stack)
        if await stack.replicas():
            await stack.remove()
        if made:
            await run("docker", "swarm", "leave", "--force")
        images = [f"swarm:{name}-{tag}" for tag in ("2", "bad", "1")]
        await run("docker", "image", "rm", "--force", *images)


async def test_services_go_to_zero_and_back_and_bad_versions_are_rolled_back(stack, say):
    await scale_through_zero(stack, say)
    await promote_a_good_version(stack, say)
    await roll_back_a_bad_version(stack, say)
    books = await stack.audited()
    say(f"the books: {books}")
    assert books["accepted"] == books["entered"]
    for line in await stack.decisions():
        say(line)


async def scale_through_zero(stack, say):
    took = await stack.wait(sales=0, books=0)
    say(f"nothing to do: both services are at zero after {took:.0f} s")
    # Longer than RabbitMQ keeps a queue of callers without a look at it.
    await asyncio.sleep(UNUSED_QUEUE + 10)
    first = await stack.load(1, 1)
    say(f"a caller who found nobody waited {first['slowest']:.1f} s")
    assert first["statuses"] == {"200": 1}
    most = {"sales": 0, "books": 0}
    loading = asyncio.create_task(stack.load(20, 45))
    while not loading.done():
        for name, (running, _) in (await stack.replicas()).items():
            most[name] = max(most.get(name, 0), running)
        await asyncio.sleep(1)
    loaded = await loading
    say(f"{loaded}, at most {most['sales']} of sales and {most['books']} of books")
    assert set(loaded["statuses"]) == {"200"}
    assert most["books"] >= 3
    await stack.audited()
    took = await stack.wait(sales=0, books=0)
    say(f"both are at zero again {took:.0f} s after the last order was entered")


async def promote_a_good_version(stack, say):
    tag = f"swarm:{stack.name}-2"
    loading = asyncio.create_task(stack.load(15, 75))
    printed = await stack.deploy("sales", tag)
    loaded = await loading
    say(f"a good version is promoted: {printed.splitlines()[-1]}; meanwhile {loaded}")
    assert set(loaded["statuses"]) == {"200"}
    assert f"sales is {tag} now" in printed
    assert "sales-canary" not in await stack.replicas()


async def roll_back_a_bad_version(stack, say):
    loading = asyncio.create_task(stack.load(15, 60))
    try:
        printed = await stack.deploy("sales", f"swarm:{stack.name}-bad", "--max-errors", "10%")
    except Failed as failed:
        printed = str(failed)
    loaded = await loading
    failed = loaded["sent"] - loaded["statuses"].get("200", 0)
    say(f"a bad one is rolled back: {printed.splitlines()[-1]}; {failed} failed of {loaded}")
    assert "was rolled back" in printed
    # Each was its own share's: a run of the bad version that failed, and nothing else.
    assert {each[:3] for each in loaded["statuses"]} == {"200", "500"}
    assert 0 < failed <= loaded["sent"] * 0.25
    assert "sales-canary" not in await stack.replicas()
    status = await stack.deploy("sales", "--status")
    assert f"sales is swarm:{stack.name}-2" in status
