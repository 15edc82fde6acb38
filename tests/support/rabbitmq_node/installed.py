"""A node of the RabbitMQ that is installed on the machine."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from uuid import uuid4

import certificates
from lifelines import start_with_lifeline
from machine import CALL_SECONDS, free_ports, run

from rabbitmq_node.ctl import Rabbitmqctl
from rabbitmq_node.node import SERVER_ARGUMENTS, PrivateNode, wait_until_started

PAUSE = 0.001


@dataclass(frozen=True)
class Identity:
    """What a node is called, where it listens, and what it has beside that of every node.

    Nodes of one cluster share an epmd and a cookie. `ports` are those for AMQP, for TLS, for other
    nodes, and that of epmd.
    """

    name: str = field(default_factory=lambda: f"em{uuid4().hex[:12]}@localhost")
    host: str = PrivateNode.host
    ports: Sequence[int] = field(default_factory=lambda: free_ports(4))
    cookie: str = field(default_factory=lambda: uuid4().hex)
    settings: str = ""
    arguments: str = ""
    environment: dict[str, str] = field(default_factory=dict)


class InstalledNode(PrivateNode):
    """A node with a name, ports, folders and an epmd of its own, unless its identity has others."""

    # The group ends when the write end of the pipe does, which is when the tests do. epmd is begun
    # again while none answers: that of a node just killed may hold the port for a moment yet.
    SCRIPT = (
        "exec 3<&0 </dev/null; "
        "(read -r end <&3; kill -KILL -$$) & "
        "until epmd -names >/dev/null 2>&1; "
        "do epmd -address 127.0.0.1 >/dev/null 2>&1 3<&- & done; "
        'exec "$@" 3<&-'
    )

    def __init__(self, programs: Path, identity: Identity | None = None) -> None:
        super().__init__()
        self._programs = programs
        self._identity = identity or Identity()
        self.host = self._identity.host
        self.name = self._identity.name
        self.port, self.tls_port, distribution_port, epmd_port = self._identity.ports
        self._server: subprocess.Popen[str] | None = None
        self._lifeline = -1
        self._write_files()
        self._environment = os.environ | {
            "HOME": str(self._folder),
            "ERL_EPMD_PORT": str(epmd_port),
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_DIST_PORT": str(distribution_port),
            "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(self._data),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_PID_FILE": str(self._folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                f"-start_epmd false {SERVER_ARGUMENTS} {self._identity.arguments}"
            ),
            # Makes the script become the server, which then gets our signals itself.
            "RUNNING_UNDER_SYSTEMD": "true",
            **self._identity.environment,
        }
        self._environment.pop("NOTIFY_SOCKET", None)
        self._ctl = Rabbitmqctl(programs / "rabbitmqctl", self.name, self._environment)

    def _write_files(self) -> None:
        cookie = self._folder / ".erlang.cookie"
        cookie.write_text(self._identity.cookie)
        cookie.chmod(0o400)
        (self._folder / "plugins").write_text(f"[{certificates.PLUGIN}].")
        (self._folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = {self.host}:{self.port}\n"
            "log.console = true\n"
            "log.file = false\n"
            "disk_free_limit.absolute = 10MB\n"
            "vm_memory_high_watermark.relative = 0.8\n"
            + certificates.settings(str(self._folder), f"{self.host}:{self.tls_port}")
            + self._identity.settings
        )

    def launch(self) -> None:
        self._server, self._lifeline = start_with_lifeline(
            self.SCRIPT, [str(self._programs / "rabbitmq-server")], env=self._environment
        )
        try:
            wait_until_started(self._server)
        except RuntimeError:
            self.remove()
            raise

    def signal(self, name: str) -> None:
        if self._server is not None:
            os.killpg(self._server.pid, signal.Signals[f"SIG{name}"])
            if name == "STOP":
                self._wait_until_stopped()
            if name == "KILL":
                self._end()

    def _wait_until_stopped(self) -> None:
        # One of its threads stops all others, and those go on until it has a processor.
        last = time.monotonic() + CALL_SECONDS
        while os.waitid(os.P_PID, self._server.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() > last:
                raise RuntimeError(f"{self.name} was told to stop, and runs")
            time.sleep(PAUSE)

    def _end(self) -> None:
        self._server.wait(CALL_SECONDS)
        os.close(self._lifeline)
        self._server = None

    def remove(self) -> None:
        self._ctl.close()
        self.signal("KILL")
        self._remove_folders()

    def control(self, *arguments: str) -> str:
        return self._ctl(*arguments)

    def run_beside(self, folder: Path, command: str) -> str:
        # The package's own program in the PATH changes the user and the folders.
        programs = self._folder / "programs"
        programs.mkdir(exist_ok=True)
        ours = programs / "rabbitmqctl"
        ours.write_text(f'#!/bin/sh\nexec {self._programs}/rabbitmqctl -n {self.name} "$@"\n')
        ours.chmod(0o755)
        path = f"{programs}{os.pathsep}{self._environment['PATH']}"
        script = f"cd {quote(str(folder))} && {command}"
        return run(["sh", "-c", script], self._environment | {"PATH": path}, 10 * CALL_SECONDS)
