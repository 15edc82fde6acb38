"""RabbitMQ nodes that belong to the tests: started, frozen and killed by them.

`new_node()` makes one from what the machine has: the server program of an installed package, run
under a node name, ports and folders of its own, or a container where EVENTMESH_TEST_IMAGE names an
image or nothing is installed. Nothing a node starts outlives the tests, even if those are killed.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import certificates
from certificates import Certificates
from machine import CALL_SECONDS, free_ports, quiet, run

IMAGE_VARIABLE = "EVENTMESH_TEST_IMAGE"
# As docs/operations.md advises. Messages that become due while a node with many queues starts wait
# so many milliseconds, and three minutes unless told otherwise.
LOOK_AGAIN = "-rabbit dead_letter_worker_publisher_confirm_timeout 5000"
STARTED = "startup complete"
START_SECONDS = 120
TLS_FOLDER = "/etc/eventmesh-tests"
"""Where a container has its certificates."""

# Debian's own rabbitmq-server in the PATH is a wrapper that changes the user and the folders.
PROGRAMS = (Path("/usr/lib/rabbitmq/bin"), Path("/opt/rabbitmq/sbin"))


class Node(ABC):
    """A RabbitMQ node. Its methods wait in threads: event loops come and go, a node stays."""

    host = "127.0.0.1"
    port: int
    tls_port: int
    certificates: Certificates
    _running = False
    _paused = False
    _alarmed = False

    def _new_folder(self) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="eventmesh-rabbitmq-"))
        self.certificates = Certificates(folder)
        return folder

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{self.host}:{self.port}/"

    @property
    def tls_url(self) -> str:
        """Over TLS, without the options that say whom to trust."""
        return f"amqps://guest:guest@{self.host}:{self.tls_port}/"

    @abstractmethod
    def launch(self) -> None:
        """Start it and wait until it takes connections."""

    @abstractmethod
    def signal(self, name: str) -> None:
        """Send STOP, CONT or KILL to all of it."""

    @abstractmethod
    def shut_down(self) -> None:
        """Stop it as an operator would."""

    @abstractmethod
    def remove(self) -> None:
        """End it, whatever state it is in, and leave nothing behind."""

    @abstractmethod
    def control(self, *arguments: str) -> str:
        """What rabbitmqctl says to these arguments."""

    async def start(self) -> None:
        await asyncio.to_thread(self.launch)
        self._running = True
        self._alarmed = False

    async def stop(self) -> None:
        self._running = False
        await asyncio.to_thread(self.shut_down)

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def kill(self) -> None:
        """End it with no chance to say good-bye."""
        # RabbitMQ 3.10 writes the names of new quorum queues down up to half a second late, and
        # after a kill before that such a queue has no leader, for ever. No client can help that.
        await self.ctl("eval", "[dets:sync(Table) || Table <- dets:all()].")
        self._running = False
        await asyncio.to_thread(self.signal, "KILL")

    async def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        self._paused = True
        await asyncio.to_thread(self.signal, "STOP")

    async def resume(self) -> None:
        self._paused = False
        await asyncio.to_thread(self.signal, "CONT")

    async def recover(self) -> None:
        """Make it run as it did when it was new, whatever was done to it."""
        if self._paused:
            await self.resume()
        if not self._running:
            await self.start()
        if self._alarmed:
            await self.clear_memory_alarm()

    async def ctl(self, *arguments: str) -> str:
        return await asyncio.to_thread(self.control, *arguments)

    async def table(self, command: str, *columns: str, vhost: str = "/") -> list[dict]:
        """The rows of a list command: `table("list_queues", "name", "messages")`."""
        return json.loads(
            await self.ctl(command, "-p", vhost, "--formatter", "json", "--silent", *columns)
        )

    async def queues(self, vhost: str = "/") -> dict[str, dict]:
        """Each queue by its name, with its type, arguments, messages and consumers."""
        rows = await self.table(
            "list_queues", "name", "type", "arguments", "messages", "consumers", vhost=vhost
        )
        return {row["name"]: row for row in rows}

    async def active_consumer(self, queue: str, vhost: str) -> str:
        """What the client of the queue's single active consumer calls itself, or ""."""
        consumers, channels, connections = await asyncio.gather(
            self.table("list_consumers", "queue_name", "channel_pid", "active", vhost=vhost),
            self.table("list_channels", "pid", "connection"),
            self.table("list_connections", "pid", "client_properties"),
        )
        channel = {row["queue_name"]: row["channel_pid"] for row in consumers if row["active"]}
        connection = {row["pid"]: row["connection"] for row in channels}
        client = {row["pid"]: str(row["client_properties"]) for row in connections}
        return client.get(connection.get(channel.get(queue)), "")

    async def close_connections(self, name: str = "") -> int:
        """Close the connections whose name contains `name`, as an operator would."""
        rows = await self.ctl(
            "list_connections", "--silent", "--no-table-headers", "pid", "client_properties"
        )
        pids = [row.partition("\t")[0] for row in rows.splitlines() if name in row]
        for pid in pids:
            await self.ctl("close_connection", pid, "closed by a test")
        return len(pids)

    async def kill_channels(self) -> None:
        """End every channel of every client with a fault of the broker's own."""
        await self.ctl("eval", "[exit(Pid, kill) || Pid <- rabbit_channel:list()].")

    async def delete_queue(self, name: str, vhost: str = "/") -> None:
        await self.ctl("delete_queue", "-p", vhost, name)

    async def raise_memory_alarm(self) -> None:
        """Block whoever publishes, until `clear_memory_alarm`."""
        self._alarmed = True
        await self.ctl("set_vm_memory_high_watermark", "0.000001")

    async def clear_memory_alarm(self) -> None:
        self._alarmed = False
        await self.ctl("set_vm_memory_high_watermark", "0.8")

    async def new_virtual_host(self) -> str:
        """The URL of a virtual host with nothing in it."""
        name = f"test-{uuid4().hex}"
        await self.ctl("add_vhost", name)
        await self.ctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
        return self.url + quote(name)


class InstalledNode(Node):
    """A node of the RabbitMQ that is installed here."""

    # The group ends when the write end of the pipe does, which is when the tests do. epmd is begun
    # again while none answers: that of a node just killed may hold the port for a moment yet.
    SCRIPT = (
        "exec 3<&0 </dev/null; "
        "(read -r end <&3; kill -KILL -$$) & "
        "until epmd -names >/dev/null 2>&1; "
        "do epmd -address 127.0.0.1 >/dev/null 2>&1 3<&- & done; "
        'exec "$@" 3<&-'
    )

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._folder = self._new_folder()
        self.port, self.tls_port, distribution_port, epmd_port = free_ports(4)
        self._name = f"em{uuid4().hex[:12]}@localhost"
        self._server: subprocess.Popen[str] | None = None
        self._lifeline = -1
        self._write_files()
        self._environment = os.environ | {
            "HOME": str(self._folder),
            "ERL_EPMD_PORT": str(epmd_port),
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_DIST_PORT": str(distribution_port),
            "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_PID_FILE": str(self._folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-start_epmd false {LOOK_AGAIN}",
            # Makes the script become the server, which then gets our signals itself.
            "RUNNING_UNDER_SYSTEMD": "true",
        }
        self._environment.pop("NOTIFY_SOCKET", None)

    def _write_files(self) -> None:
        cookie = self._folder / ".erlang.cookie"
        cookie.write_text(uuid4().hex)
        cookie.chmod(0o400)
        (self._folder / "plugins").write_text(f"[{certificates.PLUGIN}].")
        (self._folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = {self.host}:{self.port}\n"
            "log.console = true\n"
            "log.file = false\n"
            "disk_free_limit.absolute = 10MB\n"
            "vm_memory_high_watermark.relative = 0.8\n"
            + certificates.settings(str(self._folder), f"{self.host}:{self.tls_port}")
        )

    def launch(self) -> None:
        reading, self._lifeline = os.pipe()
        try:
            self._server = subprocess.Popen(
                ["sh", "-c", self.SCRIPT, "sh", self._program("server")],
                env=self._environment,
                stdin=reading,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        finally:
            os.close(reading)
        try:
            wait_until_started(self._server)
        except RuntimeError:
            self.remove()
            raise

    def _program(self, name: str) -> str:
        return str(self._programs / f"rabbitmq-{name}")

    def signal(self, name: str) -> None:
        if self._server is not None:
            os.killpg(self._server.pid, signal.Signals[f"SIG{name}"])
            if name == "KILL":
                self._end()

    def shut_down(self) -> None:
        if self._server is not None:
            self._server.terminate()
            self._server.wait(CALL_SECONDS)
            self.signal("KILL")

    def _end(self) -> None:
        self._server.wait(CALL_SECONDS)
        os.close(self._lifeline)
        self._server = None

    def remove(self) -> None:
        self.signal("KILL")
        shutil.rmtree(self._folder, ignore_errors=True)

    def control(self, *arguments: str) -> str:
        return run(
            [str(self._programs / "rabbitmqctl"), "-n", self._name, *arguments], self._environment
        )


class ContainerNode(Node):
    """A node in a container of an image of RabbitMQ."""

    def __init__(self, image: str) -> None:
        self.port, self.tls_port = free_ports(2)
        self._folder = self._new_folder()
        self._image = image
        self._name = f"eventmesh-rabbitmq-{uuid4().hex[:12]}"
        self._created = False

    def launch(self) -> None:
        # Those of former starts are in the log as well.
        since = f"{time.time():.3f}"
        if not self._created:
            self._created = True
            self._create()
        self._docker("start", self._name)
        log = subprocess.Popen(
            ["docker", "logs", "--follow", "--since", since, self._name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            wait_until_started(log)
        finally:
            log.kill()
            log.wait(CALL_SECONDS)

    def _create(self) -> None:
        ports = (f"-p={self.host}:{self.port}:5672", f"-p={self.host}:{self.tls_port}:5671")
        settings = f"--env=RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS={LOOK_AGAIN}"
        self._docker("create", "--name", self._name, *ports, settings, self._image)
        (self._folder / "tests.conf").write_text(certificates.settings(TLS_FOLDER, "5671"))
        (self._folder / "plugins").write_text(f"[{certificates.PLUGIN}].")
        # The server runs as another user, who has to read them.
        for path in (self._folder, *self._folder.iterdir()):
            path.chmod(0o755)
        self._docker("cp", str(self._folder), f"{self._name}:{TLS_FOLDER}")
        for file, place in (("tests.conf", "conf.d/90-tests.conf"), ("plugins", "enabled_plugins")):
            self._docker("cp", str(self._folder / file), f"{self._name}:/etc/rabbitmq/{place}")

    def signal(self, name: str) -> None:
        verb = {"STOP": "pause", "CONT": "unpause", "KILL": "kill"}[name]
        self._docker(verb, self._name)
        if name == "KILL":
            # Until it has ended its port is open, and a start would do nothing.
            self._docker("wait", self._name)

    def shut_down(self) -> None:
        self._docker("stop", self._name)

    def remove(self) -> None:
        self._docker("rm", "--force", "--volumes", self._name)
        shutil.rmtree(self._folder, ignore_errors=True)

    def control(self, *arguments: str) -> str:
        return self._docker("exec", self._name, "rabbitmqctl", *arguments)

    def _docker(self, *arguments: str) -> str:
        return run(["docker", *arguments], dict(os.environ))


def new_node() -> Node:
    """A node of what there is, not started yet."""
    image = os.environ.get(IMAGE_VARIABLE)
    if image:
        return ContainerNode(image)
    programs = installed_programs()
    if programs is not None:
        return InstalledNode(programs)
    if shutil.which("docker") and not subprocess.call(["docker", "info"], **quiet()):
        return ContainerNode("rabbitmq:4-management")
    if os.geteuid() == 0 and shutil.which("apt-get"):
        install_package()
        return InstalledNode(installed_programs())
    raise RuntimeError(
        "there is no RabbitMQ to test with: install one (on Debian: apt-get install "
        "rabbitmq-server), or Docker, or say in EVENTMESH_TEST_BROKER where one is"
    )


def installed_programs() -> Path | None:
    found = shutil.which("rabbitmq-server")
    places = (*PROGRAMS, *([Path(found).resolve().parent] if found else []))
    return next((place for place in places if (place / "rabbitmq-server").exists()), None)


def install_package() -> None:
    # As in single-user mode: the package would start a broker of its own otherwise.
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    run(["apt-get", "update", "-qq"], environment, 600)
    run(["apt-get", "install", "-y", "-qq", "rabbitmq-server"], environment, 600)


def wait_until_started(server: subprocess.Popen[str]) -> None:
    """Read what a server says until it takes connections, and on, so that it can go on speaking."""
    started = threading.Event()
    said: list[str] = []

    def listen() -> None:
        # Closed by who reads it: the server may end, or be killed, in the middle of a line.
        with server.stdout as lines:
            for line in lines:
                if not started.is_set():
                    said.append(line)
                if STARTED in line:
                    started.set()
        started.set()

    threading.Thread(target=listen, daemon=True).start()
    if not started.wait(START_SECONDS) or not said or STARTED not in said[-1]:
        raise RuntimeError(f"RabbitMQ did not start:\n{''.join(said[-40:])}")
