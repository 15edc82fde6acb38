"""The node of all processes of a run."""

from pathlib import Path
from typing import Never

from shared_server import Owner

from rabbitmq_node.node import Node, PrivateNode


class SharedNode(Node):
    """A node that other tests use at the same time, and that a test leaves as it was."""

    def __init__(self, owner: Owner[PrivateNode]) -> None:
        self._owner = owner
        self.port, self.tls_port, self.cafile = owner.call("addresses")

    def __getattr__(self, name: str) -> Never:
        advice = ": mark the test as disruptive" if hasattr(PrivateNode, name) else ""
        raise AttributeError(f"a RabbitMQ that others use has no {name}{advice}")

    def control(self, *arguments: str) -> str:
        return self._owner.call("control", *arguments)

    def client_certificate(self, user: str) -> Path:
        return self._owner.call("client_certificate", user)
