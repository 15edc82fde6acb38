"""One node for all processes of a run: the controller starts it when the first of them asks."""

import os
import threading
from collections.abc import Callable
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import Never

from rabbitmq_node.node import Node, PrivateNode


class NodeOwner:
    """Starts a node for whoever asks first, and acts on it for all; safe for threads."""

    def __init__(self, new_node: Callable[[], PrivateNode]) -> None:
        self._new_node = new_node
        self._lock = threading.Lock()
        self._node: PrivateNode | None = None

    def node(self) -> PrivateNode:
        """Return the node, which runs."""
        with self._lock:
            if self._node is None:
                node = self._new_node()
                try:
                    node.launch()
                except BaseException:
                    node.remove()
                    raise
                self._node = node
            return self._node

    def addresses(self) -> tuple[int, int, Path]:
        node = self.node()
        return node.port, node.tls_port, node.cafile

    def control(self, *arguments: str) -> str:
        return self.node().control(*arguments)

    def client_certificate(self, user: str) -> Path:
        return self.node().client_certificate(user)

    def remove(self) -> None:
        with self._lock:
            if self._node is not None:
                self._node.remove()
                self._node = None


class Manager(BaseManager):
    """How the processes reach the owner."""


EXPOSED = ("addresses", "control", "client_certificate")
Manager.register("owner", exposed=EXPOSED)


class NodeServer:
    """Lets other processes use a node, by an address that they are told."""

    def __init__(self, new_node: Callable[[], PrivateNode]) -> None:
        self._owner = NodeOwner(new_node)
        key = os.urandom(32)
        Manager.register("owner", lambda: self._owner, exposed=EXPOSED)
        server = Manager(authkey=key).get_server()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.address = (server.address, key.hex())

    def close(self) -> None:
        self._owner.remove()


def connect(address: tuple[str, str]) -> NodeOwner:
    """Return the owner in another process."""
    path, key = address
    manager = Manager(path, bytes.fromhex(key))
    manager.connect()
    return manager.owner()


class SharedNode(Node):
    """A node that other tests use at the same time, and that a test leaves as it was."""

    def __init__(self, owner: NodeOwner) -> None:
        self._owner = owner
        self.port, self.tls_port, self.cafile = owner.addresses()

    def __getattr__(self, name: str) -> Never:
        advice = ": mark the test as disruptive" if hasattr(PrivateNode, name) else ""
        raise AttributeError(f"a RabbitMQ that others use has no {name}{advice}")

    def control(self, *arguments: str) -> str:
        return self._owner.control(*arguments)

    def client_certificate(self, user: str) -> Path:
        return self._owner.client_certificate(user)
