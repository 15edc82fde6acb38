"""A TCP proxy that fails on demand: a network between a client and its broker."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

CHUNK = 64 * 1024
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]
LINGER_ZERO = struct.pack("ii", 1, 0)


class TcpProxy:
    """Forwards connections to `host:port`, until told otherwise.

    `stall` holds back all bytes and keeps the connections open, as a cut cable does; `drop` ends
    the open ones with what is under way, `reset` with an RST; `refuse` takes no new ones; `forward`
    undoes stall and refuse.
    `latency` is seconds that every chunk is under way, each direction for itself.
    """

    def __init__(self, host: str, port: int, tasks: asyncio.TaskGroup) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks = tasks
        self.latency = 0.0
        self.port = 0
        self.accepted = 0

    def url(self, url: str) -> str:
        """`url`, through this proxy."""
        parts = urlsplit(url)
        user = f"{parts.username}:{parts.password}@" if parts.username else ""
        return parts._replace(netloc=f"{user}127.0.0.1:{self.port}").geturl()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._writers) // 2

    def stall(self) -> None:
        self._flowing.clear()

    def drop(self) -> None:
        for writer in tuple(self._writers):
            writer.close()

    def reset(self) -> None:
        for writer in tuple(self._writers):
            if not writer.is_closing():
                connection = writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
                writer.transport.abort()

    async def refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def forward(self) -> None:
        self._flowing.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End all connections."""
        await self.refuse()
        self._flowing.set()
        self.reset()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._tasks.create_task(self.carry(reader, writer))

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward a connection until one side has closed it."""
        try:
            far = await self.open()
        except OSError:
            writer.transport.abort()
            return
        await self.join((reader, writer), far)

    async def open(self) -> Ends:
        """Connect to the target. Raises OSError when it does not accept."""
        await self._flowing.wait()
        return await asyncio.open_connection(*self._target)

    async def join(self, near: Ends, far: Ends) -> None:
        """Forward between two connections until one is closed, and close both."""
        (reader, writer), (far_reader, far_writer) = near, far
        both = {writer, far_writer}
        self._writers |= both
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, far_writer))
                pumps.create_task(self._pump(far_reader, writer))
        finally:
            self._writers -= both
            for each in both:
                each.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await reader.read(CHUNK):
                if self.latency:
                    await asyncio.sleep(self.latency)
                await self._flowing.wait()
                writer.write(chunk)
                await writer.drain()
        # One side is gone: so is the other, once it has all that was under way.
        await self._flowing.wait()
        writer.close()


@asynccontextmanager
async def proxying(url: str) -> AsyncIterator[TcpProxy]:
    """A proxy in front of the broker at `url`."""
    parts = urlsplit(url)
    async with asyncio.TaskGroup() as connections:
        proxy = TcpProxy(parts.hostname, parts.port, connections)
        await proxy.forward()
        try:
            yield proxy
        finally:
            await proxy.close()
