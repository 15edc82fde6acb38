"""URLs that list several hosts, such as those of all nodes of a cluster."""

from __future__ import annotations

import re
from typing import Final

_AUTHORITY_END: Final = re.compile("[/?#]|$")


def split_hosts(url: str) -> list[str]:
    """Return one URL for each host of `scheme://user:password@a:5672,b:5672/path`.

    Everything but the host and its port is the same in each. Nothing is checked.
    """
    scheme, separator, rest = url.partition("://")
    authority = rest[: _find_end(rest)]
    user, at, hosts = authority.rpartition("@")
    before, after = f"{scheme}{separator}{user}{at}", rest[len(authority) :]
    return [f"{before}{host}{after}" for host in hosts.split(",")]


def _find_end(rest: str) -> int:
    found = _AUTHORITY_END.search(rest)
    return len(rest) if found is None else found.start()
