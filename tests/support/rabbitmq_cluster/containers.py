"""A cluster of RabbitMQ in containers."""

import asyncio
import os
import subprocess
from collections.abc import Sequence
from uuid import uuid4

from machine import CALL_SECONDS, run
from rabbitmq_node import ContainerNode, PrivateNode
from rabbitmq_node.node import SERVER_ARGUMENTS

from rabbitmq_cluster.cluster import SIZE, Cluster, settings

# Ends when the tests do, also when those are killed, and leaves nothing behind.
LIFELINE = 'read -r end; docker rm --force --volumes "$@" >&- 2>&-; docker network rm "$0" >&- 2>&-'


class ClusteredContainer(ContainerNode):
    """A node that clients reach at a port of this machine, and other nodes over a network."""

    def __init__(
        self, image: str, host: str, network: str, cookie: str, members: Sequence[str]
    ) -> None:
        super().__init__(image)
        self.name = f"rabbit@{host}"
        self._host = host
        self._network = network
        self._cookie = cookie
        self._members = members
        self._is_linked = False

    @property
    def container(self) -> str:
        """The name of its container."""
        return self._name

    def _options(self) -> list[str]:
        cookie = f"-setcookie {self._cookie}"
        return [
            f"--hostname={self._host}",
            f"--env=RABBITMQ_NODENAME={self.name}",
            f"--env=RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS={SERVER_ARGUMENTS} {cookie}",
            f"--env=RABBITMQ_CTL_ERL_ARGS={cookie}",
        ]

    def _settings(self) -> str:
        return super()._settings() + settings(self._members)

    def _create(self) -> None:
        super()._create()
        self.link()

    def link(self) -> None:
        """Put it on the network of the cluster, if it is not there."""
        if not self._is_linked:
            self._docker("network", "connect", "--alias", self._host, self._network, self._name)
            self._is_linked = True

    def unlink(self) -> None:
        """Take it off that network; its port stays."""
        self._docker("network", "disconnect", self._network, self._name)
        self._is_linked = False


class ContainerCluster(Cluster):
    """Nodes whose links to each other are a network of their own."""

    nodes: Sequence[ClusteredContainer]

    def __init__(self, images: Sequence[str]) -> None:
        """`images` are those of the nodes, in their order."""
        self._network = f"eventmesh-cluster-{uuid4().hex[:12]}"
        hosts = [f"em{number}" for number in range(1, SIZE + 1)]
        members = [f"rabbit@{host}" for host in hosts]
        cookie = uuid4().hex
        self.nodes = [
            ClusteredContainer(image, host, self._network, cookie, members)
            for image, host in zip(images, hosts, strict=True)
        ]
        self._lifeline = subprocess.Popen(
            ["sh", "-c", LIFELINE, self._network, *(node.container for node in self.nodes)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        run(["docker", "network", "create", self._network], dict(os.environ))

    async def launch(self) -> None:
        # At once: to ask for the name of one that is not there yet takes a minute.
        await asyncio.gather(*(asyncio.to_thread(node.launch) for node in self.nodes))
        await self.whole()

    def isolate(self, node: PrivateNode) -> None:
        self._known(node).unlink()

    def cut(self, node: PrivateNode, other: PrivateNode) -> None:
        # They have one network: who is on it reaches all that are.
        del other
        self.isolate(node)

    def _known(self, node: PrivateNode) -> ClusteredContainer:
        return self.nodes[self.nodes.index(node)]

    def heal(self) -> None:
        for node in self.nodes:
            node.link()

    def remove(self) -> None:
        for node in self.nodes:
            node.remove()
        self._lifeline.communicate(timeout=CALL_SECONDS)
