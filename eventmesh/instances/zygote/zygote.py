"""The zygote: a process that has imported the code of isolated functions, and forks instances.

It has one thread and no event loop, so that a fork is safe. It is told what to do by messages of
JSON on a socket that keeps their boundaries, and tells which of its children ended and how. All
descendants of an instance that outlive it become children of the zygote, which kills them.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

from eventmesh.instances.guest.serve import run_guest
from eventmesh.instances.zygote.loading import find_function
from eventmesh.instances.zygote.setup import become_instance
from eventmesh.instances.zygote.sidecars import run_with_sidecars

MAX_MESSAGE: Final = 64 * 1024
_FDS: Final = 3
"""Of a new instance: its socket, its output, its log."""


class Zygote:
    """Takes messages until the service closes the socket, and ends with all instances."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._instances: set[int] = set()
        self._functions: dict[str, Any] = {}
        self._operations: dict[str, Callable[[dict[str, Any], list[int]], None]] = {
            "path": self._set_path,
            "load": self._load,
            "fork": self._fork,
            "program": self._start_program,
            "terminate": self._terminate,
            "kill": self._kill,
        }

    def run(self) -> None:
        awake, wake = socket.socketpair()
        for end in (awake, wake):
            end.settimeout(0.0)
        signal.set_wakeup_fd(wake.fileno())
        signal.signal(signal.SIGCHLD, _ignore)
        # The service says when to end. A terminal sends its signals to all of its processes.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ)
            selector.register(awake, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is awake:
                        _drain(awake)
                        self._reap()
                    elif not self._receive():
                        self._end()

    def _receive(self) -> bool:
        """Do what one message says. Returns False once the service has closed the socket."""
        try:
            data, fds, _, _ = socket.recv_fds(self._control, MAX_MESSAGE, _FDS)
        except ConnectionError:
            return False
        if not data:
            return False
        message: dict[str, Any] = json.loads(data)
        self._operations[message.pop("operation")](message, fds)
        return True

    def _tell(self, **message: Any) -> None:
        with suppress(ConnectionError):  # The service has ended: so does this process.
            self._control.send(json.dumps(message).encode())

    def _set_path(self, message: dict[str, Any], _: list[int]) -> None:
        sys.path[:] = message["path"]

    def _load(self, message: dict[str, Any], _: list[int]) -> None:
        name = message["function"]
        try:
            self._functions[name] = find_function(
                name, message["module"], message["file"], message["qualname"]
            )
        except BaseException as error:  # noqa: BLE001 code of the user's, which may raise anything
            text = "".join(traceback.format_exception(error))[-MAX_MESSAGE // 4 :]
            kind = f"{type(error).__name__}: {error}"[:1000]
            self._tell(event="refused", function=name, error=kind, traceback=text)
            return
        # What is there now stays: a collection in an instance would copy every page of it.
        gc.collect()
        gc.freeze()
        self._tell(event="loaded", function=name)

    def _fork(self, message: dict[str, Any], fds: list[int]) -> None:
        """Fork an instance that runs a handler which this process has imported."""
        function = self._functions[message["function"]]

        def run() -> int:
            os.environ["EVENTMESH_FUNCTION"] = message["function"]
            connection, _, log = fds
            return run_guest(function, connection, log, message["level"])

        self._fork_to(run, message, fds, output=fds[1])

    def _start_program(self, message: dict[str, Any], fds: list[int]) -> None:
        """Fork an instance that becomes another program."""
        command, environment = message["command"], message["environment"]

        def run() -> NoReturn:
            os.chdir(message["folder"])
            if message["sidecars"]:
                _, output, control = fds
                run_with_sidecars(
                    command, message["sidecars"], environment, control=control, output=output
                )
            os.execvpe(command[0], command, environment)  # noqa: S606 what the function declares

        self._fork_to(run, message, fds, output=fds[0])

    def _fork_to(
        self, run: Callable[[], int], message: dict[str, Any], fds: list[int], *, output: int
    ) -> None:
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self._become_instance(run, parent, message, output)
        self._instances.add(pid)
        for fd in fds:
            os.close(fd)
        self._tell(event="forked", token=message["token"], pid=pid)

    def _become_instance(
        self, run: Callable[[], int], parent: int, message: dict[str, Any], output: int
    ) -> NoReturn:
        status = 1
        try:
            self._control.close()
            become_instance(parent, message["procs"], message["uid"], output)
            status = run()
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except BaseException:  # noqa: BLE001 this process is the instance: it has nowhere to raise to
            traceback.print_exc()
        finally:
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _terminate(self, message: dict[str, Any], _: list[int]) -> None:
        if message["pid"] in self._instances:
            with suppress(ProcessLookupError):
                os.kill(message["pid"], signal.SIGTERM)

    def _kill(self, message: dict[str, Any], _: list[int]) -> None:
        pid = message["pid"]
        if pid in self._instances:  # Otherwise it has ended, and its number may be another's.
            # The group first: nothing in it is left to notice that the first process is gone.
            for send in (os.killpg, os.kill):
                with suppress(ProcessLookupError):
                    send(pid, signal.SIGKILL)

    def _reap(self) -> None:
        ended = False
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            ended = True
            if pid in self._instances:
                self._instances.discard(pid)
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)
                code = os.waitstatus_to_exitcode(status)
                self._tell(event="exited", pid=pid, code=code, peak=usage.ru_maxrss * 1024)
        if ended:
            self._kill_orphans()

    def _kill_orphans(self) -> None:
        """Kill what an instance left behind: what is a child of this process, but not an instance.

        Their own children become children of this process in turn, and are killed as they do.
        """
        for pid in list_children(os.getpid()):
            if pid not in self._instances:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _end(self) -> NoReturn:
        """Kill all that is left, wait until it is gone, and end."""
        while True:
            for pid in list_children(os.getpid()):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            try:
                os.wait()
            except ChildProcessError:
                os._exit(0)


def list_children(pid: int) -> list[int]:
    """Return the numbers of the processes whose parent `pid` is."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        return [int(child) for child in text.split()]
    except FileNotFoundError:  # A kernel without CONFIG_PROC_CHILDREN.
        return [child for child in _list_processes() if _find_parent(child) == pid]


def _list_processes() -> list[int]:
    return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()]


def _find_parent(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:  # It has ended.
        return None
    return int(stat.rpartition(b") ")[2].split()[1])


def _ignore(*_: object) -> None:
    """Handle SIGCHLD: that there is a handler makes the kernel write to the wake-up socket."""


def _drain(awake: socket.socket) -> None:
    with suppress(BlockingIOError):
        while awake.recv(4096):
            pass
