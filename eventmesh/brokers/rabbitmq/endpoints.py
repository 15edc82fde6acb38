"""Chooses the node of a cluster that the connections of a process go to."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import ip_address
from typing import Final, TypeAlias, TypeVar

from eventmesh.brokers.rabbitmq.address import Address, Host
from eventmesh.brokers.rabbitmq.connect_errors import connect_error
from eventmesh.brokers.rabbitmq.timing import CONNECT_SECONDS, DIAL_SECONDS, LOGIN_SECONDS
from eventmesh.model.errors import BrokerUnavailable
from eventmesh.model.value import value

_log: Final = logging.getLogger("eventmesh.rabbitmq")

Peer: TypeAlias = tuple[str, int]
"""An IP address and a port."""

T = TypeVar("T")
P = TypeVar("P", Host, Peer)

MAX_REMEMBERED: Final = 1_000
"""Failed hosts and addresses that are remembered: the addresses of a name may change for ever."""

MAX_SHOWN: Final = 3
"""Failures that the error for a whole cluster shows."""


@value
class Endpoint:
    """One address of one host, with the limits for its use."""

    address: Address
    """Where it is and the credentials, with this host alone."""
    peer: Peer
    dial_seconds: float
    login_seconds: float

    @property
    def host(self) -> Host:
        return self.address.hosts[0]

    async def dial(self, protocol: asyncio.Protocol) -> asyncio.Transport:
        """Open a TCP connection, with TLS if the address wants it, for `protocol`.

        Raises BrokerUnavailable.
        """
        loop, tls = asyncio.get_running_loop(), self.address.tls
        try:
            opened = await self._connect(protocol if tls is None else asyncio.Protocol())
            if tls is None:
                return opened
            # Not before: TLS has the longer limit of the login.
            secured = await loop.start_tls(opened, protocol, tls, server_hostname=self.host.name)
            if secured is None:
                raise ConnectionAbortedError("the connection was lost")
        except OSError as error:
            raise connect_error(self.address, str(error)) from error
        protocol.connection_made(secured)
        return secured

    async def _connect(self, protocol: asyncio.Protocol) -> asyncio.Transport:
        try:
            async with asyncio.timeout(self.dial_seconds):
                transport, _ = await asyncio.get_running_loop().create_connection(
                    lambda: protocol, *self.peer
                )
        except TimeoutError:
            raise BrokerUnavailable(
                f"{self.address!r} ({self.peer[0]}) did not answer within {self.dial_seconds:g} s"
            ) from None
        return transport


LogIn: TypeAlias = Callable[[Endpoint], Awaitable[T]]
"""Dials and logs in. Raises AccessDenied, and BrokerUnavailable where another endpoint may work."""


class Endpoints:
    """All addresses of the hosts of a cluster, tried one after the other.

    Each process has its own random order, so that clients spread over the nodes. All connections
    of a process go to the node where the last one was opened, for as long as it works: after a
    partition a process with a connection to either side would see two states. So only one at a
    time looks for a node.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._order = random.random()  # noqa: S311 it spreads load
        self._used: set[Host | Peer] = set()
        self._failed: dict[Host | Peer, float] = {}
        self._opening = asyncio.Lock()
        self.several = len(address.hosts) > 1
        """Whether there was more than one address when one was last looked for."""

    async def open(self, log_in: LogIn[T]) -> T:
        """Return what `log_in` returns at the first endpoint that works.

        Raises AccessDenied as soon as one refuses the login: users and virtual hosts are those of
        the whole cluster. Raises BrokerUnavailable if none works.
        """
        async with self._opening:
            address = self._address.renewed()
            failures: list[BrokerUnavailable] = []
            tried: set[Peer] = set()
            for host in self._sort(address.hosts):
                try:
                    peers = await self._resolve(address, host)
                except BrokerUnavailable as error:
                    failures.append(error)
                    self._remember_failure(host)
                    continue
                for peer in self._sort(peers):
                    if peer in tried:
                        continue
                    tried.add(peer)
                    try:
                        opened = await log_in(self._endpoint(address.at(host), peer))
                    except BrokerUnavailable as error:
                        failures.append(error)
                        self._remember_failure(host, peer)
                    else:
                        self._remember_success(host, peer, failures)
                        return opened
            raise _none_works(address, failures)

    def avoid(self, endpoint: Endpoint) -> None:
        """Try all others before this endpoint, whose node does not serve although it answers."""
        self._remember_failure(endpoint.host, endpoint.peer)

    def _sort(self, places: Iterable[P]) -> list[P]:
        """Return the one in use, then those that did not fail, then those that failed long ago."""

        def rank(place: P) -> tuple[bool, float, int]:
            return (
                place not in self._used,
                self._failed.get(place, 0.0),
                hash((self._order, place)),
            )

        return sorted(places, key=rank)

    async def _resolve(self, address: Address, host: Host) -> list[Peer]:
        """Look up the addresses of a host. Raises BrokerUnavailable."""
        if _is_address(host.name):
            self.several = len(address.hosts) > 1
            return [(host.name, host.port)]
        place = address.at(host)
        seconds = CONNECT_SECONDS if len(address.hosts) == 1 else DIAL_SECONDS
        try:
            async with asyncio.timeout(seconds):
                found = await asyncio.get_running_loop().getaddrinfo(
                    host.name, host.port, type=socket.SOCK_STREAM
                )
        except TimeoutError:
            raise BrokerUnavailable(
                f"{place!r} cannot be reached: its name was not found within {seconds:g} s"
            ) from None
        except (OSError, UnicodeError) as error:
            raise connect_error(place, str(error)) from error
        # Without duplicates, of which some resolvers return many.
        peers = list(dict.fromkeys((str(each[4][0]), host.port) for each in found))
        self.several = len(address.hosts) > 1 or len(peers) > 1
        return peers

    def _endpoint(self, address: Address, peer: Peer) -> Endpoint:
        if self.several:
            return Endpoint(address, peer, DIAL_SECONDS, LOGIN_SECONDS)
        return Endpoint(address, peer, CONNECT_SECONDS, CONNECT_SECONDS)

    def _remember_failure(self, *places: Host | Peer) -> None:
        if len(self._failed) > MAX_REMEMBERED:
            self._failed.clear()
        now = asyncio.get_running_loop().time()
        self._failed.update(dict.fromkeys(places, now))
        self._used -= set(places)

    def _remember_success(
        self, host: Host, peer: Peer, failures: Sequence[BrokerUnavailable]
    ) -> None:
        self._used = {host, peer}
        for place in self._used:
            self._failed.pop(place, None)
        if failures:
            _log.info("%s; so %s (%s) is used", "; ".join(map(str, failures)), host, peer[0])


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _none_works(address: Address, failures: Sequence[BrokerUnavailable]) -> BrokerUnavailable:
    if len(failures) == 1:
        return failures[0]
    shown = "; ".join(map(str, failures[:MAX_SHOWN]))
    more = len(failures) - MAX_SHOWN
    return BrokerUnavailable(
        f"no node of {address!r} can be used: {shown}{f'; and {more} more' if more > 0 else ''}"
    )
