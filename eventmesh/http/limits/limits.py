"""The limits of one process for all clients of its HTTP servers together."""

from __future__ import annotations

from collections.abc import Callable
from logging import INFO
from typing import Final, TypeAlias

from eventmesh.aio.clock import Clock
from eventmesh.http.limits.bodies import BodyBudget
from eventmesh.http.limits.connections import ConnectionCount
from eventmesh.http.limits.machine import find_descriptors, find_memory
from eventmesh.http.limits.refusals import Refusals
from eventmesh.model.access.addresses import match_address
from eventmesh.model.settings import Settings, variable
from eventmesh.model.value import value

LEAST_BODIES: Final = 16 * 1024 * 1024
"""Bytes for bodies on the smallest machine."""

CONNECTION_BYTES: Final = 32 * 1024
"""Bytes of memory that a connection may take, with a request that is being read."""

TLS_BYTES: Final = 256 * 1024
"""Bytes of the buffer that asyncio has for each connection over TLS."""

LEAST_CONNECTIONS: Final = 16

RATE_GRACE: Final = 5.0
"""Seconds that the sender of a body has before its rate counts."""

AddNumber: TypeAlias = Callable[[str, str, Callable[[], float]], None]
"""Adds a number to the metrics: its name, the function it is of (none), and how to read it."""


@value
class HttpLimits:
    """What clients may take, and what was refused to them.

    `header_timeout` and `read_timeout` are seconds for a request's head and for its body, which
    comes with `min_body_rate` bytes a second at the least.
    """

    header_timeout: float
    read_timeout: float
    min_body_rate: int
    bodies: BodyBudget
    connections: ConnectionCount
    refused_connections: Refusals
    slow_clients: Refusals
    refused_bodies: Refusals
    dense_bodies: Refusals
    large_bodies: Refusals

    def body_deadline(self, received: int) -> float:
        """Seconds from its start on in which more of a body must come, after so many bytes."""
        if not self.min_body_rate:
            return self.read_timeout
        return min(self.read_timeout, RATE_GRACE + received / self.min_body_rate)


def build_limits(settings: Settings, clock: Clock, gauge: AddNumber | None = None) -> HttpLimits:
    """Build the limits that the settings say; those that they do not follow from the machine.

    `gauge` gets their metrics.
    """
    memory = find_memory()
    each = CONNECTION_BYTES + (TLS_BYTES if settings.http_tls_certificate else 0)
    most = settings.http_max_connections or _most_connections(memory // 4 // each)
    most_of_peer = settings.http_max_peer_connections or max(most // 2, 1)
    limits = HttpLimits(
        settings.http_header_timeout,
        settings.http_read_timeout,
        settings.http_min_body_rate,
        BodyBudget(settings.max_bodies or max(memory // 4, LEAST_BODIES, settings.max_body)),
        ConnectionCount(most, most_of_peer, match_address(settings.trusted_proxies)),
        Refusals(clock, f"a connection was refused: see {variable('http_max_connections')}"),
        Refusals(clock, "a client was too slow, and its connection was closed", INFO),
        Refusals(
            clock,
            "a request got a 503, because the bodies of others take all memory that they may: see "
            f"{variable('max_bodies')}",
        ),
        Refusals(clock, "a compressed body was refused, because it grows too much", INFO),
        Refusals(clock, "a request was refused, because it is too large", INFO),
    )
    if gauge is not None:
        _add_metrics(limits, gauge)
    return limits


def _most_connections(in_memory: int) -> int:
    descriptors = find_descriptors()
    # The rest is for the broker, for files, and for what functions open.
    reserve = max(descriptors // 8, 64)
    return max(min(descriptors - reserve, in_memory), LEAST_CONNECTIONS)


def _add_metrics(limits: HttpLimits, gauge: AddNumber) -> None:
    connections, bodies = limits.connections, limits.bodies
    gauge("http_connections", "", lambda: connections.total)
    gauge("http_body_bytes", "", lambda: bodies.held)
    for name, refusals in (
        ("http_refused_connections_total", limits.refused_connections),
        ("http_slow_clients_total", limits.slow_clients),
        ("http_refused_bodies_total", limits.refused_bodies),
        ("http_dense_bodies_total", limits.dense_bodies),
        ("http_large_bodies_total", limits.large_bodies),
    ):
        gauge(name, "", _reader(refusals))


def _reader(refusals: Refusals) -> Callable[[], float]:
    return lambda: refusals.count
