"""Who a client is that comes through proxies (RFC 7239).

Anybody can send the headers in which proxies name their clients. They are believed only from
proxies that the settings name, and from the right to the left: what a proxy adds stands at the end,
and what stands before that came from further away.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from multidict import MultiMapping

from eventmesh.model.access.addresses import match_address, parse_address
from eventmesh.model.settings import Settings
from eventmesh.model.value import value

FORWARDED: Final = "Forwarded"
FORWARDED_FOR: Final = "X-Forwarded-For"
FORWARDED_HOST: Final = "X-Forwarded-Host"
FORWARDED_PROTO: Final = "X-Forwarded-Proto"

MAX_HOPS: Final = 32
"""Proxies that are read of one request; what stands before them is not looked at."""

_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR: Final = re.compile(rf'({_WORD})=(?:({_WORD})|"((?:[^"\\]|\\.)*)")(?:;[ \t]*|\Z)')
_NODE: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::[0-9]{1,5})?|([0-9A-Fa-f:.]+)")
"""An address with perhaps a port: of IPv6 in brackets, which X-Forwarded-For may lack."""


@value
class Client:
    """Who sent a request, as far as it is believed.

    `address` is the client's; `scheme` ("http" or "https") and `host` are those by which it reached
    the first trusted proxy, "" where no header says so.
    """

    address: str
    scheme: str = ""
    host: str = ""


@value
class _Hop:
    """What one proxy says of whom it got the request from: an address, "" for an unknown one."""

    address: str
    scheme: str = ""
    host: str = ""


class TrustedProxies:
    """Finds the client of a request that may have come through proxies."""

    __slots__ = ("_trusts",)

    def __init__(self, trusts: Callable[[str], bool]) -> None:
        """`trusts` says whether an address is that of one of our proxies."""
        self._trusts = trusts

    def find_client(self, peer: str, headers: MultiMapping[str]) -> Client:
        """Find the client behind `peer`, the address that the connection comes from.

        Where `Forwarded` and `X-Forwarded-For` are both there and name different clients, neither
        is believed: a proxy sets one of them, and hands on what its client wrote into the other.
        """
        if not self._trusts(peer):
            return Client(peer)
        legacy = self._walk(peer, _read_legacy(headers))
        if FORWARDED not in headers:
            return legacy
        found = self._walk(peer, _read_forwarded(headers))
        if FORWARDED_FOR in headers and legacy.address != found.address:
            return Client(peer)
        return found

    def _walk(self, peer: str, hops: Sequence[_Hop]) -> Client:
        """Walk from the peer to the first address that is not one of our proxies."""
        client = Client(peer)
        for hop in hops:
            if not hop.address:
                # A name that hides an address: whoever is behind it, nobody nearer is the client.
                return Client(client.address, hop.scheme, hop.host)
            client = Client(hop.address, hop.scheme, hop.host)
            if not self._trusts(hop.address):
                break
        return client


def build_trusted_proxies(settings: Settings) -> TrustedProxies | None:
    """Build what the settings ask for; None where no proxy is trusted."""
    if not settings.trusted_proxies:
        return None
    return TrustedProxies(match_address(settings.trusted_proxies))


def _read_forwarded(headers: MultiMapping[str]) -> Sequence[_Hop]:
    """Read `Forwarded`, the nearest proxy first; up to the first element that breaks the rules."""
    hops: list[_Hop] = []
    for element in _from_right(headers, FORWARDED):
        pairs = _parse_element(element)
        if pairs is None:
            hops.append(_Hop(""))
            break
        address = _parse_node(pairs.get("for", ""))
        hops.append(_Hop(address, _scheme(pairs.get("proto", "")), pairs.get("host", "")))
    return hops


def _parse_element(text: str) -> dict[str, str] | None:
    """Parse one element: pairs with semicolons between them; None where it is none."""
    pairs: dict[str, str] = {}
    position = 0
    while position < len(text):
        found = _PAIR.match(text, position)
        if found is None or found[1].lower() in pairs:
            return None
        quoted = found[3]
        pairs[found[1].lower()] = found[2] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        position = found.end()
    return pairs if position == len(text) else None


def _read_legacy(headers: MultiMapping[str]) -> Sequence[_Hop]:
    """Read `X-Forwarded-For`, the nearest proxy first. Of -Proto and -Host the last one counts.

    No rule says which proxy of several set those two: they are taken from the nearest one.
    """
    scheme = _scheme(next(_from_right(headers, FORWARDED_PROTO), ""))
    host = next(_from_right(headers, FORWARDED_HOST), "")
    hops = [_Hop(_parse_node(text), scheme, host) for text in _from_right(headers, FORWARDED_FOR)]
    return hops or ([_Hop("", scheme, host)] if scheme or host else [])


def _from_right(headers: MultiMapping[str], name: str) -> Iterator[str]:
    """Yield the elements of a list over all lines of a header, the last one first."""
    left = MAX_HOPS
    split = _split if name == FORWARDED else _split_plain
    for line in reversed(headers.getall(name, ())):
        for text in reversed(split(line)):
            if not left:
                return
            left -= 1
            yield text.strip(" \t")


def _split_plain(line: str) -> Sequence[str]:
    """Split at commas: the older headers know no quotes, in which a client could hide."""
    return line.split(",")


def _split(line: str) -> Sequence[str]:
    """Split at commas, but not within quotes. Reads each character once, whatever is sent."""
    if '"' not in line:
        return line.split(",")
    parts: list[str] = []
    start, quoted, escaped = 0, False, False
    for index, character in enumerate(line):
        if escaped:
            escaped = False
        elif character == '"':
            quoted = not quoted
        elif quoted:
            escaped = character == "\\"
        elif character == ",":
            parts.append(line[start:index])
            start = index + 1
    return [*parts, line[start:]]


def _parse_node(text: str) -> str:
    """Parse the address of a node; empty for `unknown`, a hidden name, and what is none."""
    found = _NODE.fullmatch(text)
    if found is None:
        return ""
    address = parse_address(found[1] or found[2] or found[3])
    return "" if address is None else str(address)


def _scheme(text: str) -> str:
    scheme = text.lower()
    return scheme if scheme in ("http", "https") else ""
