"""One server for all processes of a run: the controller starts it when the first of them asks."""

import os
import threading
from collections.abc import Callable
from multiprocessing.managers import BaseManager
from typing import Generic, Protocol, TypeVar


class Startable(Protocol):
    """A server of the tests, which is not started yet."""

    def launch(self) -> None:
        """Start it and wait until it accepts connections."""

    def remove(self) -> None:
        """End it, whatever state it is in, and leave nothing behind."""


Server = TypeVar("Server", bound=Startable)


class Owner(Generic[Server]):
    """Starts a server for whoever asks first, and acts on it for all; safe for threads."""

    def __init__(self, new: Callable[[], Server]) -> None:
        self._new = new
        self._lock = threading.Lock()
        self._server: Server | None = None

    def server(self) -> Server:
        """Return the server, which runs."""
        with self._lock:
            if self._server is None:
                server = self._new()
                try:
                    server.launch()
                except BaseException:
                    server.remove()
                    raise
                self._server = server
            return self._server

    def call(self, method: str, *arguments: str) -> object:
        """Return what a method of the server returns; it starts if it does not run yet."""
        return getattr(self.server(), method)(*arguments)

    def remove(self) -> None:
        with self._lock:
            if self._server is not None:
                self._server.remove()
                self._server = None


class Manager(BaseManager):
    """How the processes reach the owner."""


EXPOSED = ("call",)
Manager.register("owner", exposed=EXPOSED)


class OwnerServer:
    """Lets other processes use a server, by an address that they are told."""

    def __init__(self, new: Callable[[], Startable]) -> None:
        self._owner = Owner(new)

        class OwnManager(Manager):
            """Its registry is its own: a run may share several servers."""

        OwnManager.register("owner", lambda: self._owner, exposed=EXPOSED)
        key = os.urandom(32)
        server = OwnManager(authkey=key).get_server()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.address = (server.address, key.hex())

    def close(self) -> None:
        self._owner.remove()


def connect(address: tuple[str, str]) -> Owner:
    """Return the owner in another process."""
    path, key = address
    manager = Manager(path, bytes.fromhex(key))
    manager.connect()
    return manager.owner()
