"""How long RabbitMQ may take: the same for both AMQP clients, on all connections."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count
from typing import Final

HEARTBEAT_SECONDS: Final = 10
"""The heartbeat that both sides agree on. A silent peer is given up after twice that.

So it decides when the leases, the slots and the prefetched messages of a machine that is gone go to
others. A shorter one would cost a connection whenever a busy process pauses.
"""

CONNECT_SECONDS: Final = 10.0
"""For opening a connection: TCP, TLS and login. Operations that need one wait as long for it."""

CALL_SECONDS: Final = 15.0
"""For the reply to a method.

Longer than replies take even when a thousand consumers start again at once: on the data path a
method without a reply costs the connection, because replies have only an order.
"""

CLOSE_SECONDS: Final = 3.0
"""For the reply to the closing of a connection. Short, because the process is being stopped."""

FIRST_WAIT: Final = 0.1
LONGEST_WAIT: Final = 15.0
"""Seconds before the next attempt to connect: doubled each time, up to this, less a random part."""


def backoff() -> Iterator[float]:
    """Yield the seconds to wait before each further attempt, without end.

    They are random, so that the clients of a broker that comes back do not come back all at once.
    """
    for attempt in count():
        wait = min(FIRST_WAIT * 2 ** min(attempt, 16), LONGEST_WAIT)
        yield random.uniform(wait / 2, wait)  # noqa: S311 it spreads load
