"""What a new instance does to itself before any code of its function runs.

Everything here runs once in a forked process that has a single thread.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Callable
from typing import Any, Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_SET_NO_NEW_PRIVS: Final = 38
"""prctl(2), https://man7.org/linux/man-pages/man2/prctl.2.html."""


def set_dumpable(*, dumpable: bool) -> None:
    """Say whether processes of the same user may read this one's memory and environment.

    Without it /proc/PID/environ and /proc/PID/mem belong to root (proc(5)).
    """
    _prctl(_PR_SET_DUMPABLE, int(dumpable))


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends. Ends it if that has happened."""
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of all descendants whose own parent ends: none escapes by a double fork."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def become_instance(parent: int, procs: str, uid: int | None, output: int) -> None:
    """Make this forked process an instance: a session, memory group and user of its own.

    `procs` is the file of its memory group, or "". `output` becomes its standard output and
    error. Raises OSError for what the machine refuses.
    """
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN if number == signal.SIGPIPE else signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    if procs:
        with open(procs, "w", encoding="ascii") as file:  # noqa: PTH123 one write, no Path yet
            file.write("0")
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    # A change of the user resets both.
    end_with_parent(parent)
    set_dumpable(dumpable=True)
    _set_oom_score()  # Once it is dumpable: before that its files in /proc are root's.
    adopt_orphans()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(nothing)


def _set_oom_score() -> None:
    """Let the kernel, when the machine has no memory left, end an instance before its service."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123
            file.write("800")
    except OSError:  # In a container without /proc, or with one that is read only: as it was.
        return


def _prctl(option: int, argument: int) -> None:
    call: Callable[..., int] = _libc().prctl
    if call(option, argument, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}, {argument}): {os.strerror(number)}")


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)
