"""A node in a container."""

import os
import subprocess
import time
from pathlib import Path
from uuid import uuid4

import certificates
from machine import CALL_SECONDS, free_ports, run

from rabbitmq_node.node import DATA_VARIABLE, SERVER_ARGUMENTS, PrivateNode, wait_until_started

TLS_FOLDER = "/etc/eventmesh-tests"
"""Where a container has its certificates."""


class ContainerNode(PrivateNode):
    """A node in a container of an image of RabbitMQ."""

    def __init__(self, image: str) -> None:
        super().__init__()
        self.port, self.tls_port = free_ports(2)
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
            errors="replace",  # It may log what a test sent.
        )
        try:
            wait_until_started(log)
        finally:
            log.kill()
            log.wait(CALL_SECONDS)

    def _create(self) -> None:
        ports = (f"-p={self.host}:{self.port}:5672", f"-p={self.host}:{self.tls_port}:5671")
        options = (*ports, *self._volume(), *self._options())
        self._docker("create", "--name", self._name, *options, self._image)
        (self._folder / "tests.conf").write_text(self._settings())
        (self._folder / "plugins").write_text(f"[{certificates.PLUGIN}].")
        # The server runs as another user, who has to read them.
        for path in (self._folder, *self._folder.iterdir()):
            path.chmod(0o755)
        self._docker("cp", str(self._folder), f"{self._name}:{TLS_FOLDER}")
        for file, target in (
            ("tests.conf", "conf.d/90-tests.conf"),
            ("plugins", "enabled_plugins"),
        ):
            self._docker("cp", str(self._folder / file), f"{self._name}:/etc/rabbitmq/{target}")

    def _volume(self) -> list[str]:
        """Put the data where DATA_VARIABLE says, if the engine is on this machine.

        Its owner will be the server's user: only root can remove it then.
        """
        is_here = os.environ.get("DOCKER_HOST", "unix:").startswith("unix:")
        if DATA_VARIABLE not in os.environ or not is_here or os.geteuid() != 0:
            return []
        self._data.chmod(0o777)
        return [f"--volume={self._data}:/var/lib/rabbitmq"]

    def _options(self) -> list[str]:
        """Return what `docker create` is told beside the ports."""
        return [f"--env=RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS={SERVER_ARGUMENTS}"]

    def _settings(self) -> str:
        """Return lines for rabbitmq.conf."""
        return certificates.settings(TLS_FOLDER, "5671")

    def signal(self, name: str) -> None:
        verb = {"STOP": "pause", "CONT": "unpause", "KILL": "kill"}[name]
        self._docker(verb, self._name)
        if name == "KILL":
            # Until it has ended its port is open, and a start would do nothing.
            self._docker("wait", self._name)

    def remove(self) -> None:
        self._docker("rm", "--force", "--volumes", self._name)
        self._remove_folders()

    def control(self, *arguments: str) -> str:
        return self._docker("exec", self._name, "rabbitmqctl", *arguments)

    def run_beside(self, folder: Path, command: str) -> str:
        copy = f"/tmp/{uuid4().hex}"
        self._docker("cp", str(folder), f"{self._name}:{copy}")
        # Only its owner reads it, and that may be another than who runs rabbitmqctl.
        self._docker("exec", "--user", "root", self._name, "chmod", "-R", "a+rX", copy)
        line = ["docker", "exec", self._name, "sh", "-c", f"cd {copy} && {command}"]
        return run(line, dict(os.environ), 10 * CALL_SECONDS)

    def _docker(self, *arguments: str) -> str:
        return run(["docker", *arguments], dict(os.environ))
