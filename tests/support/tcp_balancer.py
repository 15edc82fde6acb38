"""A load balancer before a cluster, as operators have one: TCP, round robin, around the dead."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from tcp_proxy import TcpProxy

CONNECT_SECONDS = 1.0
"""A node that does not accept within this time counts as away for a connection."""


class TcpBalancer(TcpProxy):
    """Forwards each connection to the next of several targets that accepts it.

    `proxies` are the ways to the targets, in their order: stall, drop or reset one to cut clients
    off one node. What is done to the balancer itself concerns new connections alone.
    """

    def __init__(self, targets: Sequence[tuple[str, int]], tasks: asyncio.TaskGroup) -> None:
        super().__init__("", 0, tasks)
        self.proxies = [TcpProxy(host, port, tasks) for host, port in targets]
        self._next = 0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in self.proxies:
            proxy = self.proxies[self._next]
            self._next = (self._next + 1) % len(self.proxies)
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    far = await proxy.open()
            except OSError:  # TimeoutError is one.
                continue
            await proxy.join((reader, writer), far)
            return
        writer.transport.abort()

    async def close(self) -> None:
        await self.refuse()
        for proxy in self.proxies:
            await proxy.close()


@asynccontextmanager
async def balancing(targets: Sequence[tuple[str, int]]) -> AsyncIterator[TcpBalancer]:
    """A balancer in front of the nodes at `targets`."""
    async with asyncio.TaskGroup() as connections:
        balancer = TcpBalancer(targets, connections)
        await balancer.forward()
        try:
            yield balancer
        finally:
            await balancer.close()
