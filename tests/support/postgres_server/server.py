"""What a test does with a PostgreSQL server, and with one that it may break.

Methods that are coroutines wait in threads: event loops come and go, a server stays.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
from machine import CALL_SECONDS, START_SECONDS, free_ports

USER = "eventmesh"
PAUSE_SECONDS = 0.05

SETTINGS = {
    # A kill of its processes loses nothing of what the operating system has: only a loss of power
    # does, which no test makes.
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "300",
}
"""What a server of the tests is told beside where it listens."""


class Databases:
    """A running server, in which each test has databases of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        """The address of a database that is there already, with a user who may make others."""

    def new_database(self) -> str:
        """Make an empty database and return its URL."""
        name = f"test_{uuid4().hex}"
        self.execute(f"CREATE DATABASE {name}")
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    def drop_database(self, url: str) -> None:
        """Remove a database, whoever is connected to it."""
        name = urlsplit(url).path.removeprefix("/")
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def execute(self, statement: str) -> list[tuple]:
        """Run a statement in the database that is there already, and return its rows."""
        return asyncio.run(query(self.url, statement))


async def query(url: str, statement: str, *arguments: object) -> list[tuple]:
    """Run a statement in a connection of its own, and return its rows."""
    connection = await asyncpg.connect(url, timeout=CALL_SECONDS, command_timeout=CALL_SECONDS)
    try:
        return [tuple(row) for row in await connection.fetch(statement, *arguments)]
    finally:
        await connection.close(timeout=CALL_SECONDS)


class PrivateServer(Databases, ABC):
    """A server that one process of the tests owns: it may stop, freeze and kill it."""

    host = "127.0.0.1"

    def __init__(self) -> None:
        self.password = uuid4().hex
        (self.port,) = free_ports(1)
        super().__init__(f"postgresql://{USER}:{self.password}@{self.host}:{self.port}/postgres")
        self._paused = False
        self._ended = False

    @abstractmethod
    def launch(self) -> None:
        """Start its process and wait until it accepts connections."""

    @abstractmethod
    def signal(self, name: str) -> None:
        """Send STOP, CONT or KILL to all its processes."""

    @abstractmethod
    def shut_down(self) -> None:
        """Have it close its connections and end, as an operator does; return when it has."""

    @abstractmethod
    def remove(self) -> None:
        """End it, whatever state it is in, and leave nothing behind."""

    def address(self) -> str:
        """Return its URL."""
        return self.url

    def wait_until_started(self) -> None:
        """Wait until it answers; raises RuntimeError if it takes too long."""
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                self.execute("SELECT 1")
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                if time.monotonic() > end:
                    raise RuntimeError(f"PostgreSQL does not answer: {error}") from error
                time.sleep(PAUSE_SECONDS)
            else:
                return

    async def stop(self) -> None:
        """Stop it as an operator does."""
        await asyncio.to_thread(self.shut_down)
        self._ended = True

    async def kill(self) -> None:
        """End all its processes with SIGKILL."""
        await asyncio.to_thread(self.signal, "KILL")
        self._ended = True

    async def start(self) -> None:
        """Start it after `stop` or `kill`; return when it accepts connections."""
        await asyncio.to_thread(self.launch)
        self._ended = False

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        self._paused = True
        await asyncio.to_thread(self.signal, "STOP")

    async def resume(self) -> None:
        self._paused = False
        await asyncio.to_thread(self.signal, "CONT")

    async def recover(self) -> None:
        """Undo what was done to it, so that it runs as a new one does."""
        if self._ended:
            await self.start()
        elif self._paused:
            await self.resume()
