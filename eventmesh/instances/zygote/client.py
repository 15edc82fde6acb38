"""Starts the zygote, and asks it for instances."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import field, fields
from itertools import count
from typing import Any, Final

from eventmesh.engine.function import AnyFunction
from eventmesh.instances.zygote.loading import locate
from eventmesh.instances.zygote.setup import set_dumpable
from eventmesh.instances.zygote.zygote import MAX_MESSAGE
from eventmesh.model.errors import DeclarationError, EventmeshError
from eventmesh.model.value import value

_log: Final = logging.getLogger(__name__)

LOAD_TIMEOUT: Final = 60.0
"""Seconds in which the zygote must have imported the code of a function."""
FORK_TIMEOUT: Final = 10.0
"""Seconds in which it must have forked: machines that swap take one or two."""

_SETTINGS: Final = "EVENTMESH_"
"""What the names of the service's own settings begin with: instances get none of them."""


class ZygoteLost(EventmeshError):
    """The process that instances are forked from has ended, or does not answer."""


@value
class Exit:
    """How an instance ended: its exit status, or the negative signal, and its peak memory."""

    code: int
    peak: int


@value
class Order:
    """What an instance gets when it is forked.

    `procs` is the file of its memory group, `uid` its user (None: the service's), and `level` that
    of the log records it writes.
    """

    function: str
    procs: str
    uid: int | None
    level: int


@value
class Program:
    """A program that an instance becomes: its arguments, environment and folder.

    `procs` and `uid` are as in an `Order`. `sidecars` are the commands of other programs that run
    beside it (`eventmesh.instances.zygote.sidecars`).
    """

    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    folder: str
    procs: str
    uid: int | None
    sidecars: Sequence[Sequence[str]] = ()


_ORDER: Final = tuple(each.name for each in fields(Order))
_PROGRAM: Final = tuple(each.name for each in fields(Program))

OnExit = Callable[[Exit], object]


class Zygote:
    """One process for all functions of a host; if it ends, the next fork starts another."""

    def __init__(self) -> None:
        self._functions: dict[str, dict[str, str]] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._tokens = count(1)
        self._loading: dict[str, asyncio.Future[None]] = {}
        self._forking: dict[int, tuple[asyncio.Future[int], OnExit]] = {}
        self._exits: dict[int, OnExit] = {}
        self._starting = asyncio.Lock()
        self._ended: list[subprocess.Popen[bytes]] = []

    async def load(self, function: AnyFunction) -> None:
        """Have the zygote import a function. Raises DeclarationError if that fails."""
        module, file, qualname = locate(function)
        known = {"module": module, "file": file, "qualname": qualname}
        async with self._starting:
            self._start()
            await self._load(function.full_name, known)
            self._functions[function.full_name] = known

    async def fork(self, order: Order, fds: Sequence[int], on_exit: OnExit) -> int:
        """Fork an instance, which gets the descriptors: socket, output, log. Returns its number.

        `on_exit` is called once it has ended. Raises ZygoteLost.
        """
        message = {name: getattr(order, name) for name in _ORDER}
        return await self._start_instance("fork", message, fds, on_exit)

    async def start_program(self, program: Program, fds: Sequence[int], on_exit: OnExit) -> int:
        """Fork an instance that becomes a program, and gets the descriptor of its output.

        With sidecars it gets that of their output and a socket, too. Everything else is as with
        `fork`.
        """
        message = {name: getattr(program, name) for name in _PROGRAM}
        return await self._start_instance("program", message, fds, on_exit)

    async def _start_instance(
        self, operation: str, message: Mapping[str, Any], fds: Sequence[int], on_exit: OnExit
    ) -> int:
        async with self._starting:
            await self._restart()
        token = next(self._tokens)
        forked: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._forking[token] = (forked, on_exit)
        try:
            self._send({"operation": operation, "token": token, **message}, fds)
            async with asyncio.timeout(FORK_TIMEOUT):
                return await forked
        except TimeoutError:
            raise ZygoteLost(f"no instance was forked within {FORK_TIMEOUT:g} s") from None
        finally:
            self._forking.pop(token, None)

    def terminate(self, pid: int) -> None:
        """Ask the first process of an instance to end, by SIGTERM."""
        with suppress(ZygoteLost):
            self._send({"operation": "terminate", "pid": pid})

    def kill(self, pid: int) -> None:
        """Kill an instance with all that it started. Its `on_exit` is called when it is gone."""
        with suppress(ZygoteLost):  # They ended with it.
            self._send({"operation": "kill", "pid": pid})

    async def close(self) -> None:
        """End the zygote and all instances that are left, and wait until they are gone."""
        self._disconnect()
        await self._wait_ended()

    async def _wait_ended(self) -> None:
        while self._ended:
            await asyncio.to_thread(_wait, self._ended.pop())

    async def _restart(self) -> None:
        await self._wait_ended()
        if self._control is None:
            self._start()
            for name, known in self._functions.items():
                try:
                    await self._load(name, known)
                except DeclarationError as error:
                    raise ZygoteLost(f"{name} cannot be imported any more: {error}") from error

    def _start(self) -> None:
        if self._control is not None:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "eventmesh.instances.zygote"]
            # It gets nothing secret, and neither do the instances that are forked from it.
            self._process = subprocess.Popen(  # noqa: S603 our own program, with numbers
                [*command, str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=_build_environment(os.environ),
            )
        # Processes of the same user could otherwise read the broker's password from this one.
        set_dumpable(dumpable=False)
        ours.settimeout(0.0)
        self._control = ours
        asyncio.get_running_loop().add_reader(ours, self._receive)
        self._send({"operation": "path", "path": sys.path})

    async def _load(self, name: str, known: Mapping[str, str]) -> None:
        loaded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._loading[name] = loaded
        try:
            self._send({"operation": "load", "function": name, **known})
            async with asyncio.timeout(LOAD_TIMEOUT):
                await loaded
        except TimeoutError:
            raise DeclarationError(
                f"{name} was not imported within {LOAD_TIMEOUT:g} s: let its module do less when "
                "it is imported"
            ) from None
        finally:
            self._loading.pop(name, None)

    def _send(self, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
        if self._control is None:
            raise ZygoteLost("the process that instances are forked from has ended")
        try:
            socket.send_fds(self._control, [json.dumps(message).encode()], fds)
        except OSError as error:  # It is full, or the other side is gone.
            raise ZygoteLost(f"the process that instances are forked from: {error}") from error

    def _receive(self) -> None:
        control = self._control
        while control is not None and control is self._control:
            try:
                data = control.recv(MAX_MESSAGE)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._lose()
                return
            self._take(json.loads(data))

    def _take(self, message: dict[str, Any]) -> None:
        match message:
            case {"event": "exited", "pid": pid, "code": code, "peak": peak}:
                self._exits.pop(pid)(Exit(code, peak))
            case {"event": "forked", "token": token, "pid": pid}:
                self._take_forked(token, pid)
            case {"event": "loaded", "function": name}:
                self._finish_loading(name, None)
            case {"event": "refused", "function": name, "error": error, "traceback": text}:
                refused = DeclarationError(
                    f"{name} cannot run in a process of its own: importing it there failed with "
                    f"{error}"
                )
                refused.add_note(text)
                self._finish_loading(name, refused)
            case _:
                _log.error("the zygote sent what is not known: %s", sorted(message))

    def _take_forked(self, token: int, pid: int) -> None:
        forked, on_exit = self._forking.get(token, (None, _forget))
        self._exits[pid] = on_exit
        if forked is None or forked.done():
            self.kill(pid)  # Nobody waits for it any more.
        else:
            forked.set_result(pid)

    def _finish_loading(self, name: str, error: DeclarationError | None) -> None:
        loading = self._loading.get(name)
        if loading is None or loading.done():
            return
        if error is None:
            loading.set_result(None)
        else:
            loading.set_exception(error)

    def _lose(self) -> None:
        """Note that the zygote has ended: the kernel has killed its instances."""
        self._disconnect()
        _log.error("the process that instances are forked from has ended: the next call starts it")
        exits, self._exits = self._exits, {}
        for on_exit in exits.values():
            on_exit(Exit(-9, 0))
        for forked, _ in self._forking.values():
            _fail(forked)
        for loading in self._loading.values():
            _fail(loading)

    def _disconnect(self) -> None:
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control)
            self._control.close()
            self._control = None
        if self._process is not None:
            self._ended.append(self._process)
            self._process = None


def _build_environment(own: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in own.items() if not name.startswith(_SETTINGS)}


def _fail(waiting: asyncio.Future[Any]) -> None:
    if not waiting.done():
        waiting.set_exception(ZygoteLost("the process that instances are forked from has ended"))


def _forget(_: Exit) -> None:
    """Take the end of an instance that nobody waited for."""


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
