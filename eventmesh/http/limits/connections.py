"""How many connections there are, in all and of each client."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

FULL = "there are {most:,} connections already"
PEER_FULL = "{peer} has {most:,} connections already"


class ConnectionCount:
    """The open connections; `total` is how many there are.

    A client is an address; of IPv6 it is a /64, of which each customer has one at the least (RFC
    6177). `is_trusted` says of which addresses there may be any number: proxies, which stand for
    many clients.
    """

    __slots__ = ("_is_trusted", "_most", "_most_of_peer", "_peers", "total")

    def __init__(self, most: int, most_of_peer: int, is_trusted: Callable[[str], bool]) -> None:
        self._most = most
        self._most_of_peer = most_of_peer
        self._is_trusted = is_trusted
        self._peers: dict[str, int] = {}
        self.total = 0

    def add(self, address: str) -> str:
        """Count a connection from that address; if it is one too many, return why."""
        if self.total >= self._most:
            return FULL.format(most=self._most)
        peer = _client(address)
        open_now = self._peers.get(peer, 0)
        if open_now >= self._most_of_peer and peer and not self._is_trusted(address):
            return PEER_FULL.format(peer=peer, most=self._most_of_peer)
        self._peers[peer] = open_now + 1
        self.total += 1
        return ""

    def remove(self, address: str) -> None:
        """Count a connection from that address, which was added, no more."""
        peer = _client(address)
        self.total -= 1
        self._peers[peer] -= 1
        if not self._peers[peer]:
            del self._peers[peer]


def _client(address: str) -> str:
    if ":" not in address:
        return address
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"
