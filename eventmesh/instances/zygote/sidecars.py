"""The first process of an instance whose program has others beside it.

It starts them, starts the program when it is told to, and tells which of them have ended. It ends
as the program ends. Asked to end by SIGTERM, it passes that on, and waits for all.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, NoReturn

from eventmesh.instances.zygote.setup import end_with_parent

START: Final = b"start"
PROGRAM: Final = -1
"""The number of the program among the others, which count from 0."""
TERM_TIMEOUT: Final = 0.5
"""Seconds in which the program must end after SIGTERM, before it is killed."""


def run_with_sidecars(
    program: Sequence[str],
    sidecars: Sequence[Sequence[str]],
    environment: Mapping[str, str],
    *,
    control: int,
    output: int,
) -> NoReturn:
    """Run a program with others beside it, whose output goes to the descriptor `output`.

    `control` is a socket to the service: `START` comes from there, and what ended goes there, as
    lines of JSON.
    """
    for descriptor in (control, output):
        os.set_inheritable(descriptor, False)  # noqa: FBT003 it takes no keywords
    _Sidecars(program, sidecars, environment, socket.socket(fileno=control), output).run()


class _Sidecars:
    def __init__(
        self,
        program: Sequence[str],
        sidecars: Sequence[Sequence[str]],
        environment: Mapping[str, str],
        control: socket.socket,
        output: int,
    ) -> None:
        self._program = program
        self._sidecars = sidecars
        self._environment = environment
        self._control = control
        self._output = output
        self._children: dict[int, int] = {}
        self._status = 0
        self._stopping = False
        self._signals: list[int] = []

    def run(self) -> NoReturn:
        awake, wake = socket.socketpair()
        for end in (awake, wake):
            end.settimeout(0.0)
        signal.set_wakeup_fd(wake.fileno())
        signal.signal(signal.SIGCHLD, self._note)
        signal.signal(signal.SIGTERM, self._note)
        for number, command in enumerate(self._sidecars):
            self._start(number, command)
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ)
            selector.register(awake, selectors.EVENT_READ)
            while True:
                ready = selector.select(TERM_TIMEOUT if self._stopping else None)
                if not ready and self._stopping:
                    self._signal_program(signal.SIGKILL)
                for key, _ in ready:
                    if key.fileobj is awake:
                        with suppress(BlockingIOError):
                            awake.recv(4096)
                        self._take_signals()
                    else:
                        self._take_control()

    def _note(self, number: int, _: object) -> None:
        self._signals.append(number)

    def _take_control(self) -> None:
        data = self._control.recv(4096)
        if not data:  # The service has ended, and the kernel ends this process, too.
            os._exit(1)
        if PROGRAM not in self._children.values() and not self._stopping:
            self._start(PROGRAM, self._program)

    def _take_signals(self) -> None:
        signals, self._signals = self._signals, []
        if signal.SIGTERM in signals:
            self._stopping = True
            if PROGRAM in self._children.values():
                self._signal_program(signal.SIGTERM)
            else:
                self._tell(PROGRAM, 0)
        self._reap()

    def _signal_program(self, number: int) -> None:
        for pid, index in self._children.items():
            if index == PROGRAM:
                os.kill(pid, number)

    def _start(self, number: int, command: Sequence[str]) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            self._children[pid] = number
            return
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            end_with_parent(parent)
            if number != PROGRAM:
                os.dup2(self._output, 1)
                os.dup2(self._output, 2)
            os.execvpe(command[0], list(command), dict(self._environment))  # noqa: S606 declared
        except OSError as error:
            os.write(2, f"{command[0]} cannot be started: {error}\n".encode())
        finally:
            os._exit(127)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            number = self._children.pop(pid, None)
            if number is None:  # A descendant of theirs that was left alone.
                continue
            if number == PROGRAM:
                self._status = status
            self._tell(number, os.waitstatus_to_exitcode(status))
            if number == PROGRAM and not self._stopping:
                self._end()
        if self._stopping and not self._children:
            self._end()

    def _tell(self, number: int, code: int) -> None:
        with suppress(OSError):  # The service has ended.
            self._control.sendall(json.dumps({"ended": number, "code": code}).encode() + b"\n")

    def _end(self) -> NoReturn:
        """End as the program has ended."""
        code = os.waitstatus_to_exitcode(self._status)
        if code < 0:
            if -code not in (signal.SIGKILL, signal.SIGSTOP):
                signal.signal(-code, signal.SIG_DFL)
            os.kill(os.getpid(), -code)
        os._exit(code if code >= 0 else 1)
