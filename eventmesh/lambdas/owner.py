"""Whose connection it is, as the kernel tells: loopback is open to every process of a machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from eventmesh.instances.tree import list_tree

_FIELDS: Final = 10
_USER: Final = 7
_INODE: Final = 9
_LISTEN: Final = "0A"
_LOCAL: Final = ("0100007F", "00000000", "7F000001")
"""127.0.0.1, in either order of bytes, and all addresses."""


def find_owner(pid: int, peer: tuple[str, int], own_port: int) -> int | None:
    """Return which of process `pid` and its descendants has connected from `peer` to our port."""
    socket = _find_socket(peer[1], own_port)
    if socket is None:
        return None
    return next((each for each in list_tree(pid) if _holds(each, socket)), None)


def is_listening(pid: int, port: int) -> bool:
    """Whether process `pid` or a descendant listens on that port of this machine."""
    sockets = [line for line in _read_table() if _is_listener(line, port)]
    return any(_holds(each, socket) for each in list_tree(pid) for socket in sockets)


def _is_listener(fields: list[str], port: int) -> bool:
    address, _, own = fields[1].partition(":")
    return fields[3] == _LISTEN and own == f"{port:04X}" and address in _LOCAL


def _read_table() -> list[list[str]]:
    with Path("/proc/net/tcp").open(encoding="ascii") as lines:
        return [fields for line in lines if len(fields := line.split()) >= _FIELDS]


def is_running(pid: int) -> bool:
    """Whether a process is there, and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat.rpartition(b") ")[2][:1] not in (b"Z", b"X")


def _find_socket(peer_port: int, own_port: int) -> list[str] | None:
    """Return the line of the other end's socket: /proc/net/tcp lists it (proc(5))."""
    ends = (f":{peer_port:04X}", f":{own_port:04X}")
    for fields in _read_table():
        if fields[1].endswith(ends[0]) and fields[2].endswith(ends[1]):
            return fields
    return None


def _holds(pid: int, socket: list[str]) -> bool:
    """Whether a process has that socket, a line of the table.

    In a container root may not read the descriptors of other users (CAP_SYS_PTRACE). There the
    user of the socket tells: a function has one that no other function has.
    """
    wanted = f"socket:[{socket[_INODE]}]"
    try:
        return any(_read_link(link) == wanted for link in Path(f"/proc/{pid}/fd").iterdir())
    except PermissionError:
        return _is_of_own_user(pid, int(socket[_USER]))
    except OSError:  # It has ended.
        return False


def _read_link(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:  # It is closed by now.
        return ""


def _is_of_own_user(pid: int, user: int) -> bool:
    try:
        return Path(f"/proc/{pid}").stat().st_uid == user != os.geteuid()
    except OSError:
        return False
