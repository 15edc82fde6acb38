"""A compose project as tests drive it, with plain `docker compose`."""

import asyncio
import json
import os
import time
from contextlib import asynccontextmanager

SECONDS = 600.0
"""What one command may take; a build on a busy machine is the longest."""


class Failed(Exception):
    """A command that ended with another code than 0, and what it printed."""


async def run(*command, standard_input="", cwd=None, environment=None, seconds=SECONDS):
    """What a command prints to standard output. Raises Failed with all that it has printed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(seconds):
            out, errors = await process.communicate(standard_input.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        printed = (out + errors).decode(errors="replace")
        raise Failed(f"{' '.join(command)} ended with {process.returncode}:\n{printed}")
    return out.decode()


class Container:
    """What the engine knows of a container."""

    def __init__(self, state):
        self.id = state["Id"]
        self.created = state["Created"]
        self.service = state["Config"]["Labels"]["com.docker.compose.service"]
        self.image = state["Config"]["Image"]
        self.image_id = state["Image"]
        self.host = state["HostConfig"]
        networks = state["NetworkSettings"]
        self.ports = [ports for ports in networks["Ports"].values() if ports]
        self.address = next(iter(networks["Networks"].values()))["IPAddress"]


class Project:
    """One compose project: its containers go when the test does."""

    def __init__(self, name, folder, files, environment):
        self.name = name
        self.folder = folder
        self._files = [argument for file in files for argument in ("--file", str(file))]
        self._environment = environment

    async def compose(self, *arguments, seconds=SECONDS):
        return await run(
            *("docker", "compose", "--project-name", self.name, "--progress", "plain"),
            *self._files,
            *arguments,
            cwd=self.folder,
            environment=self._environment,
            seconds=seconds,
        )

    async def timed(self, *arguments):
        """Run a command, and say how many seconds it took."""
        started = time.monotonic()
        await self.compose(*arguments)
        return time.monotonic() - started

    async def running(self, service=""):
        """The running containers, of all services or of one, the oldest first."""
        ids = (await self.compose("ps", "--quiet", *filter(None, [service]))).split()
        if not ids:
            return []
        found = [Container(state) for state in json.loads(await run("docker", "inspect", *ids))]
        return sorted(found, key=lambda container: container.created)

    async def execute(self, service, *command, index=1):
        """Run a command in a container of a service; what it prints."""
        return await self.compose("exec", "-T", f"--index={index}", service, *command)

    async def save_logs(self, folder):
        """Keep what all containers have printed."""
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        printed = await self.compose("logs", "--no-color", "--timestamps")
        states = await self.compose("ps", "--all")
        file = folder / f"{self.name}.log"
        await asyncio.to_thread(file.write_text, f"{states}\n{printed}", "utf-8")

    async def remove(self):
        await self.compose("down", "--volumes", "--remove-orphans", "--timeout", "1")


@asynccontextmanager
async def composed(name, folder, *files, **environment):
    """A project that is removed on leaving, with its volumes."""
    project = Project(name, folder, files, environment)
    try:
        yield project
    finally:
        await project.remove()
