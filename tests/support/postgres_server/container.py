"""A server in a container."""

import os
from uuid import uuid4

from machine import run

from postgres_server.server import SETTINGS, USER, PrivateServer


class ContainerServer(PrivateServer):
    """A server in a container of PostgreSQL's image."""

    def __init__(self, image: str) -> None:
        super().__init__()
        self._image = image
        self._name = f"eventmesh-postgres-{uuid4().hex[:12]}"
        self._created = False

    def launch(self) -> None:
        if not self._created:
            self._created = True
            self._create()
        self._docker("start", self._name)
        self.wait_until_started()

    def _create(self) -> None:
        settings = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        self._docker(
            *("create", "--name", self._name, f"-p={self.host}:{self.port}:5432"),
            *(f"--env=POSTGRES_USER={USER}", f"--env=POSTGRES_PASSWORD={self.password}"),
            *("--env=POSTGRES_DB=postgres", self._image, *settings),
        )

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

    def _docker(self, *arguments: str) -> str:
        return run(["docker", *arguments], dict(os.environ))
