"""Memory limits by control groups, which the kernel enforces: version 2, or 1 where there is one.

Version 2: https://docs.kernel.org/admin-guide/cgroup-v2.html; version 1:
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from eventmesh.instances.memory.abc import Excess, MemoryGroup, MemoryLimiter
from eventmesh.model.value import value

_log: Final = logging.getLogger(__name__)


@value
class Files:
    """The names of a version's files.

    `join` is the one that a process with a single thread writes "0" to, to move itself.
    """

    name: str
    limit: str
    peak: str
    events: str
    join: str


_WAITS: Final = (0.0, 0.01, 0.05, 0.2, 1.0, 2.0)
"""Seconds before each attempt to remove a group: what has ended may be counted for a moment."""

_FULL: Final = 0.9
"""The share of its limit from which on a group was killed for that: what is counted is in pages
that the kernel takes by the dozen."""

# Not cgroup.procs in version 1: to move a process with all its threads, the kernel first holds up
# all forks of the machine, which takes it 10 ms and more; a thread that moves itself waits for
# nothing (cgroup_procs_write_start in Linux). Version 2 moves no single thread to another group.
V1: Final = Files(
    "cgroup v1",
    "memory.limit_in_bytes",
    "memory.max_usage_in_bytes",
    "memory.oom_control",
    "tasks",
)
V2: Final = Files("cgroup v2", "memory.max", "memory.peak", "memory.events", "cgroup.procs")


class CgroupLimiter:
    """Makes a control group for each instance below one of this process's own."""

    def __init__(self, folder: Path, files: Files) -> None:
        self._folder = folder
        self._files = files

    @property
    def name(self) -> str:
        return self._files.name

    def open(self, name: str, limit: int | None, tasks: asyncio.TaskGroup) -> MemoryGroup:
        del tasks  # The kernel does the work.
        folder = self._folder / name
        folder.mkdir()
        try:
            if limit is not None:
                _set_limit(folder, self._files, limit)
        except OSError:
            folder.rmdir()
            raise
        return _Cgroup(folder, self._files, limit)

    async def close(self) -> None:
        await _remove(self._folder)


class _Cgroup:
    def __init__(self, folder: Path, files: Files, limit: int | None) -> None:
        self._folder = folder
        self._files = files
        self._limit = limit

    @property
    def procs(self) -> str:
        return str(self._folder / self._files.join)

    def watch(self, pid: int, kill: Callable[[], object]) -> None:
        """Do nothing: the kernel watches."""

    def peak(self) -> int | None:
        try:
            return int((self._folder / self._files.peak).read_text())
        except OSError:  # memory.peak is there from Linux 5.19 on.
            return None

    def find_excess(self, peak: int, *, killed: bool) -> Excess | None:
        del killed  # The kernel counts for each group, whoever's limit it was.
        if not count_kills(self._folder, self._files):
            return None
        return "limit" if self._limit is not None and peak >= self._limit * _FULL else "machine"

    async def close(self) -> None:
        await _remove(self._folder)


def count_kills(folder: Path, files: Files) -> int:
    """Return how many processes of a group the kernel killed for want of memory; 0 if unknown."""
    try:
        lines = (folder / files.events).read_text().splitlines()
    except OSError:
        return 0
    return int(dict(line.split() for line in lines).get("oom_kill", 0))


async def _remove(folder: Path) -> None:
    problem: OSError | None = None
    for wait in _WAITS:
        await asyncio.sleep(wait)
        try:
            folder.rmdir()  # noqa: ASYNC240 a call of the kernel's own memory, which does not wait
        except FileNotFoundError:
            return
        except OSError as error:
            problem = error
        else:
            return
    _log.warning("%s is left behind: %s", folder, problem)


def _set_limit(folder: Path, files: Files, limit: int) -> None:
    (folder / files.limit).write_text(str(limit))
    if files is V1:
        # Memory and swap together; the file is there if the kernel accounts swap.
        with suppress(FileNotFoundError):
            (folder / "memory.memsw.limit_in_bytes").write_text(str(limit))
        return
    with suppress(FileNotFoundError):
        (folder / "memory.swap.max").write_text("0")
    (folder / "memory.oom.group").write_text("1")


def find_kill_counter() -> Callable[[], int]:
    """Return what counts the kills for want of memory in this process's own group, as container's.

    Such a file can be read also where no group may be made.
    """
    mounts = read_file("/proc/self/mountinfo")
    groups = read_file("/proc/self/cgroup")
    for files, controller in ((V2, ""), (V1, "memory")):
        own = find_own(mounts, groups, controller)
        if own is not None and (own / files.events).exists():
            return partial(count_kills, own, files)
    return lambda: 0


def find_cgroups() -> MemoryLimiter | None:
    """Return the limiter of this machine, or None if this process may make no control groups."""
    mounts = read_file("/proc/self/mountinfo")
    groups = read_file("/proc/self/cgroup")
    for files, controller in ((V2, ""), (V1, "memory")):
        own = find_own(mounts, groups, controller)
        if own is None:
            continue
        try:
            return CgroupLimiter(_make_parent(own, files), files)
        except OSError as error:
            _log.debug("%s cannot be used in %s: %s", files.name, own, error)
    return None


def _make_parent(own: Path, files: Files) -> Path:
    """Make the folder of the instances' groups. Raises OSError if that is not allowed."""
    _remove_left(own)
    folder = own / f"eventmesh.{os.getpid()}"
    folder.mkdir()
    try:
        if files is V2:
            _delegate(own, folder)
        if not (folder / files.limit).exists():
            raise FileNotFoundError(f"{folder / files.limit} is not there")
    except OSError:
        folder.rmdir()
        raise
    return folder


def _delegate(own: Path, folder: Path) -> None:
    """Have the memory of `folder` and of the groups in it accounted apart.

    A group whose memory is split may have no processes of its own ("no internal process
    constraint"), so that those of the service go into a group beside. Only where all of them are
    the service's.
    """
    control = own / "cgroup.subtree_control"
    if "memory" not in control.read_text().split():
        try:
            control.write_text("+memory")
        except OSError:
            _move_processes(own)
            control.write_text("+memory")
    (folder / "cgroup.subtree_control").write_text("+memory")


def _move_processes(own: Path) -> None:
    family = _list_family()
    pids = {int(pid) for pid in (own / "cgroup.procs").read_text().split()}
    if not pids <= family:
        raise PermissionError(f"{own} has processes that are not this service's")
    beside = own / "eventmesh.service"
    beside.mkdir(exist_ok=True)
    for pid in pids:
        with suppress(ProcessLookupError):
            (beside / "cgroup.procs").write_text(str(pid))


def _list_family() -> set[int]:
    """Return this process, its parent and the parent's other children: the service's workers."""
    parent = os.getppid()
    family = {os.getpid(), parent}
    with suppress(OSError):
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text()
        family.update(map(int, children.split()))
    return family


def _remove_left(own: Path) -> None:
    """Remove the groups of services that were killed."""
    for folder in own.glob("eventmesh.*"):
        number = folder.name.rpartition(".")[2]
        if number.isdecimal() and not Path(f"/proc/{number}").exists():
            for group in (*folder.glob("*/"), folder):
                with suppress(OSError):  # Another service does the same, or they are not empty.
                    group.rmdir()


def find_own(mounts: str, groups: str, controller: str) -> Path | None:
    """Return the folder of this process's own group, for the controller; "" means version 2."""
    path = _find_path(groups, controller)
    if path is None:
        return None
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), after.split(maxsplit=2)
        root, target = fields[3], fields[4]
        if kind == "cgroup2" and not controller:
            break
        if kind == "cgroup" and controller and controller in options.split(","):
            break
    else:
        return None
    relative = os.path.relpath(path, root) if path.startswith(root) else "."
    folder = Path(target) / relative
    return folder if folder.is_dir() else None


def _find_path(groups: str, controller: str) -> str | None:
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if (controller in controllers.split(",")) if controller else not controllers:
            return path
    return None


def read_file(file: str) -> str:
    """Return the text of a file; "" if there is none."""
    try:
        return Path(file).read_text()
    except OSError:
        return ""
