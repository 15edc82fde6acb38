"""What a test does with a RabbitMQ node, and with one that it may break.

Methods that are coroutines wait in threads: event loops come and go, a node stays.
"""

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

from certificates import Certificates
from machine import wait_for_line

DATA_VARIABLE = "EVENTMESH_TEST_DATA"
"""In which folder nodes keep their messages; the one for temporary files unless it is set."""

# As docs/operations.md advises. Messages that become due while a node with many queues starts wait
# so many milliseconds, and three minutes unless told otherwise. Nodes that share a machine are not
# bound to processors, or all would have most of their work done by the first:
# https://www.rabbitmq.com/docs/runtime#scheduling
SERVER_ARGUMENTS = "+stbt u -rabbit dead_letter_worker_publisher_confirm_timeout 5000"
STARTED = "startup complete"
QUIET = "--silent"


class Node(ABC):
    """A running RabbitMQ node: its address, and `rabbitmqctl`."""

    name: str
    """What Erlang calls it."""

    host = "127.0.0.1"
    port: int
    tls_port: int
    cafile: Path
    """The certificate of the authority that signed the node's own."""

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{self.host}:{self.port}/"

    @property
    def tls_url(self) -> str:
        """The URL of the TLS listener, without the options that say whom to trust."""
        return f"amqps://guest:guest@{self.host}:{self.tls_port}/"

    @abstractmethod
    def client_certificate(self, user: str) -> Path:
        """Issue a certificate, with its key in the same file, by which a user may log in."""

    @abstractmethod
    def control(self, *arguments: str) -> str:
        """Run rabbitmqctl and return what it prints; a RuntimeError says how it failed."""

    async def ctl(self, *arguments: str) -> str:
        return await asyncio.to_thread(self.control, *arguments)

    async def table(self, command: str, *columns: str, vhost: str = "/") -> list[dict]:
        """Return the rows of a list command: `table("list_queues", "name", "messages")`."""
        return json.loads(await self.ctl(command, "-p", vhost, "--formatter=json", QUIET, *columns))

    async def queues(self, vhost: str = "/") -> dict[str, dict]:
        """Return each queue by its name: its type, arguments, messages and consumers."""
        rows = await self.table(
            "list_queues", "name", "type", "arguments", "messages", "consumers", vhost=vhost
        )
        return {row["name"]: row for row in rows}

    async def active_consumer(self, queue: str, vhost: str) -> str:
        """Return the properties of the client that is a queue's single active consumer, or ""."""
        consumers, channels, connections = await asyncio.gather(
            self.table("list_consumers", "queue_name", "channel_pid", "active", vhost=vhost),
            self.table("list_channels", "pid", "connection"),
            self.table("list_connections", "pid", "client_properties"),
        )
        channel = {row["queue_name"]: row["channel_pid"] for row in consumers if row["active"]}
        connection = {row["pid"]: row["connection"] for row in channels}
        client = {row["pid"]: str(row["client_properties"]) for row in connections}
        return client.get(connection.get(channel.get(queue)), "")

    async def close_connections(self, name: str) -> int:
        """Close the connections whose client properties contain `name`; return how many."""
        rows = await self.ctl(
            "list_connections", QUIET, "--no-table-headers", "pid", "client_properties"
        )
        pids = [row.partition("\t")[0] for row in rows.splitlines() if name in row]
        for pid in pids:
            await self.ctl("close_connection", pid, "closed by a test")
        return len(pids)

    async def delete_queue(self, name: str, vhost: str = "/") -> None:
        await self.ctl("delete_queue", "-p", vhost, name)

    async def new_virtual_host(self) -> str:
        """Make an empty virtual host and return its URL."""
        name = f"test-{uuid4().hex}"
        await self.ctl("add_vhost", name)
        await self.ctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
        return self.url + quote(name)


class PrivateNode(Node):
    """A node that one process of the tests owns: it may stop, freeze, kill and block it."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="eventmesh-rabbitmq-"))
        self._data = Path(
            tempfile.mkdtemp(prefix="eventmesh-rabbitmq-data-", dir=os.environ.get(DATA_VARIABLE))
        )
        self._certificates = Certificates(self._folder)
        self.cafile = self._certificates.cafile
        self._stopped = False
        self._killed = False
        self._paused = False
        self._alarmed = False

    @property
    def runs(self) -> bool:
        """Whether its process was started, and was not killed by a test."""
        return not self._killed

    def _remove_folders(self) -> None:
        for folder in (self._folder, self._data):
            shutil.rmtree(folder, ignore_errors=True)

    def addresses(self) -> tuple[int, int, Path]:
        """Return where it listens, without and with TLS, and the certificate of its authority."""
        return self.port, self.tls_port, self.cafile

    def client_certificate(self, user: str) -> Path:
        return self._certificates.client(user)

    @abstractmethod
    def launch(self) -> None:
        """Start its process and wait until it accepts connections."""

    @abstractmethod
    def signal(self, name: str) -> None:
        """Send STOP, CONT or KILL to all its processes."""

    @abstractmethod
    def remove(self) -> None:
        """End it, whatever state it is in, and leave nothing behind."""

    @abstractmethod
    def run_beside(self, folder: Path, command: str) -> str:
        """Run a line of shell in a folder, or a copy of it, where `rabbitmqctl` reaches the node.

        Return what it prints; a RuntimeError says how it failed.
        """

    async def stop(self) -> None:
        """Stop the broker as an operator does: it closes its connections and its listeners."""
        # Its Erlang VM stays: to load it anew takes several seconds of CPU.
        await self.ctl("stop_app")
        self._stopped = True

    async def start(self) -> None:
        """Start it after `stop` or `kill`; return when it accepts connections."""
        if self._killed:
            await asyncio.to_thread(self.launch)
        else:
            await self.ctl("start_app")
        self._killed = self._stopped = self._alarmed = False

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def kill(self) -> None:
        """End its process with SIGKILL."""
        # RabbitMQ 3.10 writes the names of new quorum queues down up to half a second late, and
        # after a kill before that such a queue has no leader, for ever. No client can help that.
        await self.ctl("eval", "[dets:sync(Table) || Table <- dets:all()].")
        await asyncio.to_thread(self.signal, "KILL")
        self._killed = True

    async def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        self._paused = True
        await asyncio.to_thread(self.signal, "STOP")

    async def resume(self) -> None:
        self._paused = False
        await asyncio.to_thread(self.signal, "CONT")

    async def recover(self) -> None:
        """Undo what was done to it, so that it runs as a new one does."""
        if self._paused:
            await self.resume()
        if self._stopped or self._killed:
            await self.start()
        if self._alarmed:
            await self.clear_memory_alarm()

    async def kill_channels(self) -> None:
        """End every channel of every client with an internal error of the broker."""
        await self.ctl("eval", "[exit(Pid, kill) || Pid <- rabbit_channel:list()].")

    async def raise_memory_alarm(self) -> None:
        """Block whoever publishes, until `clear_memory_alarm`."""
        self._alarmed = True
        await self.ctl("set_vm_memory_high_watermark", "0.000001")

    async def clear_memory_alarm(self) -> None:
        self._alarmed = False
        await self.ctl("set_vm_memory_high_watermark", "0.8")


def wait_until_started(server: subprocess.Popen[str]) -> None:
    """Read a server's output until it accepts connections, and on, so that it is never blocked."""
    wait_for_line(server, STARTED, "RabbitMQ")
