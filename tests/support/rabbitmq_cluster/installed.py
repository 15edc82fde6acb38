"""A cluster of the RabbitMQ that is installed on the machine."""

import asyncio
import os
import random
import subprocess
import tempfile
import time
from pathlib import Path
from uuid import uuid4

from machine import free_ports, is_free
from rabbitmq_node import InstalledNode, PrivateNode
from rabbitmq_node.installed import Identity

from rabbitmq_cluster.cluster import SIZE, Cluster, settings
from rabbitmq_cluster.links import Links, can_filter

EPMD_SECONDS = 30
PAUSE = 0.05
EPMD_SCRIPT = 'exec 3<&0 </dev/null; epmd -address "$1" 3<&- & read -r end <&3; kill -KILL -$$'


class InstalledCluster(Cluster):
    """Nodes with loopback addresses of their own, so that packets tell whom they are from."""

    def __init__(self, programs: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="eventmesh-cluster-")
        self._links = Links() if can_filter() else None
        self._refused: list[tuple[PrivateNode, PrivateNode]] = []
        self._epmd: subprocess.Popen[bytes] | None = None
        # All in one: which are free, and not yet taken, would be given to two nodes.
        self._epmd_port, *ports = free_ports(1 + 3 * SIZE)
        network = f"127.{random.randrange(1, 255)}.{random.randrange(256)}"
        self._hosts = {f"{network}.{one}": f"em-{uuid4().hex[:8]}" for one in range(1, SIZE + 1)}
        # All are in one epmd, which knows them without their hosts.
        names = [f"em{number}@{host}" for number, host in enumerate(self._hosts.values(), 1)]
        self._write_hosts()
        cookie = uuid4().hex
        self.nodes = [
            InstalledNode(
                programs, self._identity(name, address, names, cookie, ports[number::SIZE])
            )
            for number, (name, address) in enumerate(zip(names, self._hosts, strict=True))
        ]

    def _write_hosts(self) -> None:
        """Write down for Erlang alone which name has which address."""
        lines = [
            f'{{host, {_erlang(address)}, ["{host}"]}}.' for address, host in self._hosts.items()
        ]
        self._inetrc.write_text("\n".join([*lines, "{lookup, [file, native]}.", ""]))

    @property
    def _inetrc(self) -> Path:
        return Path(self._folder.name) / "inetrc"

    def _identity(
        self, name: str, address: str, names: list[str], cookie: str, ports: list[int]
    ) -> Identity:
        return Identity(
            name=name,
            host=address,
            ports=(*ports, self._epmd_port),
            cookie=cookie,
            settings=settings(names),
            arguments=(
                f"-kernel inet_dist_use_interface {_erlang(address)} "
                f"-kernel inet_dist_connect_options [{{ip,{_erlang(address)}}}]"
            ),
            environment={"ERL_INETRC": str(self._inetrc)},
        )

    async def launch(self) -> None:
        await asyncio.to_thread(self._start_epmd)
        await super().launch()

    def _start_epmd(self) -> None:
        self._epmd = subprocess.Popen(
            ["sh", "-c", EPMD_SCRIPT, "sh", ",".join(self._hosts)],
            env=os.environ | {"ERL_EPMD_PORT": str(self._epmd_port)},
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        # Before the nodes: each starts one for itself where none answers.
        last = time.monotonic() + EPMD_SECONDS
        while any(is_free(self._epmd_port, address) for address in self._hosts):
            if time.monotonic() > last:
                raise RuntimeError(f"epmd does not listen at {self._epmd_port}")
            time.sleep(PAUSE)

    def isolate(self, node: PrivateNode) -> None:
        for other in self.nodes:
            if other is not node:
                self.cut(node, other)

    def cut(self, node: PrivateNode, other: PrivateNode) -> None:
        if self._links is not None:
            self._links.cut(node.host, other.host)
            return
        # Who may not filter packets has the nodes refuse each other, which they learn at once.
        for one, another in ((node, other), (other, node)):
            self._refused.append((one, another))
            one.control("eval", f"erlang:set_cookie('{another.name}', cut).")
            one.control("eval", f"erlang:disconnect_node('{another.name}').")

    def heal(self) -> None:
        if self._links is not None:
            self._links.heal()
            return
        refused, self._refused = self._refused, []
        for one, another in refused:
            if one.runs:  # One that starts anew refuses nobody.
                one.control("eval", f"erlang:set_cookie('{another.name}', erlang:get_cookie()).")

    def remove(self) -> None:
        for node in self.nodes:
            node.remove()
        if self._epmd is not None:
            self._epmd.communicate(timeout=60)
        if self._links is not None:
            self._links.close()
        self._folder.cleanup()


def _erlang(address: str) -> str:
    """An IPv4 address as Erlang writes it."""
    return "{" + address.replace(".", ",") + "}"
