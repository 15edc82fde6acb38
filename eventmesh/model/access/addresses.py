"""Names and addresses of hosts: which are this machine, and which ones a list holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

LOOPBACK_NAME: Final = "localhost"
"""Always the machine itself (RFC 6761, section 6.3)."""

ANY: Final = "*"

EVERYWHERE: Final = ("0.0.0.0/0", "::/0")
"""The networks that hold every address."""

_LABEL: Final = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_PATTERN: Final = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*\.?")
_AUTHORITY: Final = re.compile(
    rf"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>{_LABEL}(?:\.{_LABEL})*\.?))(?::[0-9]{{0,5}})?",
    re.IGNORECASE,
)
"""A host and perhaps a port (RFC 3986, section 3.2), without a user. Of names, those of the DNS."""


def is_loopback(host: str) -> bool:
    """Whether a name or an address always means the machine itself."""
    if host.lower() == LOOPBACK_NAME:
        return True
    address = parse_address(host)
    return address is not None and address.is_loopback


def parse_address(text: str) -> Address | None:
    """Parse an IP address; None for another text. One of IPv4 in IPv6 is that of IPv4."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def parse_authority(text: str) -> str:
    """Parse the host of a Host header, in small letters and without its port.

    Empty for a text that names no host.
    """
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        return ""
    if found["v6"] is None:
        return found["name"].lower().removesuffix(".")
    address = parse_address(found["v6"])
    return "" if address is None else str(address)


def parse_hosts(text: str) -> tuple[str, ...]:
    """Parse a list of hosts with commas between them: names, addresses, `*.example.org`, or `*`.

    Raises ValueError for any other text.
    """
    hosts = tuple(host.lower() for host in _items(text))
    for host in hosts:
        address = parse_address(host.removeprefix("[").removesuffix("]"))
        if host != ANY and address is None and not _PATTERN.fullmatch(host):
            raise ValueError(host)
    return hosts


def parse_networks(text: str) -> tuple[str, ...]:
    """Parse a list of addresses and networks with commas between them: "10.0.0.0/8, ::1".

    Raises ValueError for any other text.
    """
    return tuple(str(ip_network(item)) for item in _items(text))


def parse_trust(text: str) -> tuple[str, ...]:
    """Parse whose word counts: "true" is everybody's, "false" nobody's; or a list of networks.

    Raises ValueError for any other text.
    """
    if text.lower() in ("true", "yes", "on"):
        return EVERYWHERE
    return () if text.lower() in ("false", "no", "off") else parse_networks(text)


def match_host(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Build what says whether a host, from `parse_authority`, is one of those of `parse_hosts`."""
    names: set[str] = set()
    suffixes: list[str] = []
    for pattern in patterns:
        address = parse_address(pattern.removeprefix("[").removesuffix("]"))
        if pattern.startswith("*."):
            suffixes.append(pattern[1:].removesuffix("."))
        else:
            names.add(pattern.removesuffix(".") if address is None else str(address))
    endings = tuple(suffixes)
    if ANY in names:
        return lambda host: True  # noqa: ARG005  # of any name
    return lambda host: host in names or host.endswith(endings)


def match_address(networks: Iterable[str]) -> Callable[[str], bool]:
    """Build what says whether an address, as text, is in one of those of `parse_networks`."""
    parsed = tuple(ip_network(network) for network in networks)

    def matches(text: str) -> bool:
        address = parse_address(text)
        return address is not None and any(
            address.version == network.version and address in network for network in parsed
        )

    return matches


def _items(text: str) -> list[str]:
    items = [item.strip() for item in text.split(",") if item.strip()]
    if not items:
        raise ValueError(text)
    return items
