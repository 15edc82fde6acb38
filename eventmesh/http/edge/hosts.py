"""For which hosts requests are answered.

A page of another site can reach a server at a local address by a name that it controls and that it
makes point there (DNS rebinding): browsers then take the answers for those of its own origin. The
name is in the Host header, which pages cannot set.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeAlias

from eventmesh.model.access.addresses import is_loopback, match_host, parse_authority
from eventmesh.model.errors import Problem
from eventmesh.model.settings import Settings, variable

HostCheck: TypeAlias = Callable[[str], None]
"""Takes a host, perhaps with a port, as a request names it. Raises Problem: 400 or 421."""

_REMEMBERED: Final = 256
"""Texts of Host headers of which it is remembered that they pass."""


def build_host_check(settings: Settings) -> HostCheck | None:
    """Build the check that the settings ask for; None where any host will do."""
    if settings.allowed_hosts:
        return _build(match_host(settings.allowed_hosts), optional=False)
    # Only programs name no host, as they need not in HTTP/1.0. Browsers always do.
    return _build(is_loopback, optional=True) if is_loopback(settings.http_host) else None


def _build(matches: Callable[[str], bool], *, optional: bool) -> HostCheck:
    @lru_cache(maxsize=_REMEMBERED)  # It remembers those that pass, and no error.
    def check(text: str) -> None:
        if not text and optional:
            return
        host = parse_authority(text)
        if not host:
            raise Problem(400, "the request does not name the host that it is for")
        if not matches(host):
            # RFC 9110, section 7.4.
            raise Problem(
                421,
                f"this server does not answer for {text!r}: use one of its own names, or add this "
                f"one to {variable('allowed_hosts')}",
            )

    return check
