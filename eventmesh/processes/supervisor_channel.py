"""A worker's way to its supervisor: a socket that both ends keep open as long as they live."""

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
"""Seconds more than its grace time that a worker without a supervisor may take to end."""


class SupervisorChannel:
    """The supervisor, as its worker sees it."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        # What a handler starts or forks is not to keep it open.
        self._socket.set_inheritable(False)
        os.register_at_fork(after_in_child=self._socket.close)

    def report(self, stage: str, addresses: Mapping[str, str]) -> None:
        """Tell how far the worker is; see `Report`."""
        line = orjson.dumps({"stage": stage, "addresses": addresses}) + b"\n"
        with suppress(BrokenPipeError):  # It is gone, which `watch` sees to.
            self._socket.sendall(line)

    def watch(self, grace: float) -> None:
        """When the supervisor is gone, drain as if told to stop: nobody else would say so.

        In a thread: a worker whose event loop hangs is to end too.
        """
        threading.Thread(target=self._watch, args=(grace,), daemon=True).start()

    def _watch(self, grace: float) -> None:
        with suppress(ConnectionResetError):
            while self._socket.recv(1):
                pass
        _log.warning("the supervisor is gone, and this worker ends too")
        os.kill(os.getpid(), signal.SIGTERM)
        timer = threading.Timer(grace + _MARGIN, os._exit, [ExitCode.FAILED])
        timer.daemon = True
        timer.start()
