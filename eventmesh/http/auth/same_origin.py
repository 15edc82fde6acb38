"""Who may use the APIs that invoke any function and control the mesh.

They ask for no password: any client that reaches the address may use them. Web pages may not,
neither by a request to another site (cross-site request forgery) nor by a name that was made to
point here (DNS rebinding).
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from aiohttp import hdrs

from eventmesh.model.access.addresses import is_loopback


class SameOriginCheck:
    """Finds requests that were made by a web page of another origin."""

    __slots__ = ("_loopback",)

    def __init__(self, address: str) -> None:
        self._loopback = is_loopback(address)

    def find_violation(self, headers: Mapping[str, str]) -> str:
        """Why a request with these headers is to be refused; empty if it is not."""
        host = headers.get(hdrs.HOST, "")
        if self._loopback and not is_loopback(_name(host)):
            return f"only this machine may do this, and {host!r} is not one of its local names"
        origin = headers.get(hdrs.ORIGIN)
        if origin is not None and _place(origin) != host:
            return f"pages of {origin!r} may not do this"
        return ""


def _place(origin: str) -> str | None:
    """The name and port in an Origin header; None for one that cannot be read."""
    try:
        return urlsplit(origin).netloc
    except ValueError:  # Such as `http://[`.
        return None


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
