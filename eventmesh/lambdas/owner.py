"""Whose connection it is, as the kernel tells: loopback is open to every process of a machine."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from eventmesh.instances.tree import list_tree

_FIELDS: Final = 10
_INODE: Final = 9


def is_connected_by(pid: int, peer: tuple[str, int], own_port: int) -> bool:
    """Whether the connection from `peer` to our port is one of process `pid` or a descendant."""
    inode = _find_inode(peer[1], own_port)
    if inode is None:
        return False
    return any(_holds(each, inode) for each in list_tree(pid))


def _find_inode(peer_port: int, own_port: int) -> str | None:
    """Return the inode of the other end's socket: /proc/net/tcp lists it (proc(5))."""
    wanted = (f":{peer_port:04X}", f":{own_port:04X}")
    with Path("/proc/net/tcp").open(encoding="ascii") as lines:
        for line in lines:
            fields = line.split()
            if (
                len(fields) >= _FIELDS
                and fields[1].endswith(wanted[0])
                and fields[2].endswith(wanted[1])
            ):
                return fields[_INODE]
    return None


def _holds(pid: int, inode: str) -> bool:
    folder = Path(f"/proc/{pid}/fd")
    try:
        links = list(folder.iterdir())
    except OSError:  # It has ended, or changed its user.
        return False
    for link in links:
        try:
            if str(link.readlink()) == f"socket:[{inode}]":
                return True
        except OSError:
            continue
    return False
