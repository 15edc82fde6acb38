"""A worker's channel to its supervisor: a socket that both ends keep open while they live."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import orjson

from eventmesh.processes.exit_codes import ExitCode

_log: Final = logging.getLogger(__name__)

_MARGIN: Final = 5.0
"""Seconds beyond its grace time that a worker without a supervisor has to end."""


class SupervisorChannel:
    """The worker's end of the socket."""

    def __init__(self, descriptor: int, restarts: int = 0) -> None:
        """`restarts` says how often the worker died before, and was started again."""
        self.restarts = restarts
        self._socket = socket.socket(fileno=descriptor)
        # A process that a handler starts or forks must not keep it open.
        self._socket.set_inheritable(False)
        os.register_at_fork(after_in_child=self._socket.close)

    def report(self, stage: str, addresses: Mapping[str, str]) -> None:
        """Report the stage of the worker; see `Report`."""
        line = orjson.dumps({"stage": stage, "addresses": addresses}) + b"\n"
        with suppress(BrokenPipeError):  # The supervisor is gone, which `watch` handles.
            self._socket.sendall(line)

    def drain(self) -> None:
        """Drain as after SIGTERM, and have the supervisor start another worker meanwhile."""
        self.report("draining", {})
        os.kill(os.getpid(), signal.SIGTERM)

    def watch(self, grace: float) -> None:
        """Drain as after SIGTERM once the supervisor is gone: nobody else would stop the worker.

        Watches in a thread, so that a worker whose event loop hangs ends too.
        """
        threading.Thread(target=self._watch, args=(grace,), daemon=True).start()

    def _watch(self, grace: float) -> None:
        with suppress(ConnectionResetError):
            while self._socket.recv(1):
                pass
        _log.warning("the supervisor is gone; this worker ends too")
        os.kill(os.getpid(), signal.SIGTERM)
        timer = threading.Timer(grace + _MARGIN, os._exit, [ExitCode.FAILED])
        timer.daemon = True
        timer.start()
