"""What a test does with a cluster of RabbitMQ, which it may break."""

import asyncio
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from uuid import uuid4

from rabbitmq_node import PrivateNode

SIZE = 3
NET_TICKTIME = 4
"""Seconds: a node that says nothing counts as away after three to five quarters of it."""

SETTINGS = (
    f"cluster_partition_handling = pause_minority\nnet_ticktime = {NET_TICKTIME}\n"
    "cluster_formation.peer_discovery_backend = classic_config\n"
    "queue_leader_locator = balanced\n"
)
WHOLE_SECONDS = 180
SPLIT_SECONDS = 6
"""How long nodes may take to agree again by themselves, after all links are there."""

PAUSE = 0.3


def settings(names: Sequence[str]) -> str:
    """Lines for rabbitmq.conf of every node of a cluster of these names."""
    members = (
        f"cluster_formation.classic_config.nodes.{number} = {name}\n"
        for number, name in enumerate(names, 1)
    )
    return SETTINGS + "".join(members)


class Cluster(ABC):
    """Three nodes that run as one: each may be stopped, frozen and killed, and links be cut.

    Quorum queues and their leaders are spread over all nodes; a minority stops serving.
    """

    nodes: Sequence[PrivateNode]

    def addresses(self) -> list[tuple[str, int]]:
        """Where clients reach each node."""
        return [(node.host, node.port) for node in self.nodes]

    async def launch(self) -> None:
        """Start all nodes; return when they are one cluster."""
        # The first alone: the others find it, and need not agree on who begins.
        await asyncio.to_thread(self.nodes[0].launch)
        await asyncio.gather(*(asyncio.to_thread(node.launch) for node in self.nodes[1:]))
        await self.whole()

    @abstractmethod
    def isolate(self, node: PrivateNode) -> None:
        """Cut the links between a node and the others; clients still reach it."""

    @abstractmethod
    def cut(self, node: PrivateNode, other: PrivateNode) -> None:
        """Cut the link between two nodes; both still reach the third, if links can be told apart.

        Otherwise cut the first off both.
        """

    @abstractmethod
    def heal(self) -> None:
        """Make all links as they were."""

    @abstractmethod
    def remove(self) -> None:
        """End all nodes, whatever state they are in, and leave nothing behind."""

    async def new_virtual_host(self) -> str:
        """Make an empty virtual host and return its name."""
        name = f"test-{uuid4().hex[:12]}"
        await self.nodes[0].ctl("add_vhost", name)
        await self.nodes[0].ctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
        return name

    async def queues(self, vhost: str) -> str:
        """Return what the first node knows of the queues, for a person who looks for a cause."""
        columns = ("name", "type", "state", "leader", "online", "messages", "consumers")
        return await self.nodes[0].ctl("list_queues", "-p", vhost, "--silent", *columns)

    async def recover(self) -> None:
        """Undo what was done to nodes and links; return when they are one cluster again.

        Raises RuntimeError when that is not so within minutes.
        """
        await asyncio.to_thread(self.heal)
        # At once: a node that starts waits for those that have what it needs.
        await asyncio.gather(*(node.recover() for node in self.nodes))
        await self.whole()

    async def whole(self) -> None:
        """Wait until every node sees all of them.

        What does not come together by itself is restarted, as an operator does. Raises
        RuntimeError when that does not help.
        """
        last = time.monotonic() + WHOLE_SECONDS
        patience = time.monotonic() + SPLIT_SECONDS
        while reason := await self._rift():
            if time.monotonic() > last:
                raise RuntimeError(f"not one cluster after {WHOLE_SECONDS} s: {reason}")
            if time.monotonic() > patience:
                await self._restart_split()
                patience = time.monotonic() + SPLIT_SECONDS
            await asyncio.sleep(PAUSE)

    async def _rift(self) -> str:
        """Say what keeps the nodes from being one cluster, or nothing."""
        for node in self.nodes:
            try:
                status = await self._status(node)
            except RuntimeError as error:
                return str(error)
            if status["partitions"]:
                return f"{node.name} sees a split: {status['partitions']}"
            running = status["running_nodes"]
            if len(running) < len(self.nodes):
                return f"{node.name} sees {running}"
        return ""

    @staticmethod
    async def _status(node: PrivateNode) -> dict:
        return json.loads(await node.ctl("cluster_status", "--formatter=json", "--silent"))

    async def _restart_split(self) -> None:
        """Restart the node that runs and sees the fewest others."""
        # One that was frozen goes on as it was, and stays apart from those that gave it up, though
        # `pause_minority` is set: seen with RabbitMQ 3.10.
        seen: dict[PrivateNode, int] = {}
        for node in self.nodes:
            with suppress(RuntimeError):
                seen[node] = len((await self._status(node))["running_nodes"])
        if seen:
            await min(seen, key=seen.__getitem__).restart()
