"""A control group with little memory, where this machine lets us make one."""

import os
import select
import signal
from contextlib import contextmanager, suppress
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")


@contextmanager
def memory_group(most):
    """The command within which a process has at most so many bytes; empty if that cannot be had.

    The group is below that of this process, so that all limits of that count as well.
    """
    group = _find_parent() / f"eventmesh-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        yield ()
        return
    try:
        yield _within(group, most)
    finally:
        _end_all(group)
        group.rmdir()


def _end_all(group):
    """End what still runs in the group: only then can it be removed."""
    for process in map(int, (group / "cgroup.procs").read_text().split()):
        with suppress(ProcessLookupError):
            ended = os.pidfd_open(process)
            os.kill(process, signal.SIGKILL)
            select.select([ended], [], [])
            os.close(ended)


def _within(group, most):
    limit = next((group / name for name in LIMITS if (group / name).exists()), None)
    if limit is None:  # Version 2 without the controller for memory.
        return ()
    limit.write_text(str(most))
    # The swap, too; not all kernels count it.
    with suppress(OSError):
        (group / LIMITS[limit.name]).write_text("0" if limit.name == "memory.max" else str(most))
    return ("sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs"))


LIMITS = {
    "memory.max": "memory.swap.max",
    "memory.limit_in_bytes": "memory.memsw.limit_in_bytes",
}


def _find_parent():
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return MOUNT / "memory" / path.lstrip("/")
    return MOUNT / path.lstrip("/")
