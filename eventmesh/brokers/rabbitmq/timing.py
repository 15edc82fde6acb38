"""Time limits for RabbitMQ: the same for both AMQP clients and all connections."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count
from typing import Final

HEARTBEAT_SECONDS: Final = 10
"""The heartbeat that both sides agree on. A connection to a silent peer ends after twice that.

So it decides when others get the leases, slots and prefetched messages of a dead machine. A
shorter one would end connections whenever a busy process pauses.
"""

CONNECT_SECONDS: Final = 10.0
"""The limit for opening a connection: TCP, TLS and login. Operations wait as long for one."""

DIAL_SECONDS: Final = 2.0
"""The limit for looking up a host, and for a TCP connection, where there are other addresses to
try. A machine that is off answers nothing."""

LOGIN_SECONDS: Final = 5.0
"""The limit for TLS and login where there are other addresses to try. A node that is frozen, or cut
off from the others, takes connections and answers nothing."""

CALL_SECONDS: Final = 15.0
"""The limit for the reply to a method.

It is longer than replies take when a thousand consumers start again at once. On the data path a
method without a reply costs the connection, because replies are matched by their order only.
"""

AWAY_SECONDS: Final = 5.0
"""The limit for the reply of one queue that may be on a dead node: from 4.x on RabbitMQ does not
answer at all then. It is longer than a busy queue takes, and as long as callers may have to wait
until they are told."""

CLOSE_SECONDS: Final = 3.0
"""The limit for the reply to connection.close. It is short, because the process is stopping."""

DELETE_SECONDS: Final = 1.0
"""The limit for deleting a queue of a process that is stopping. It would expire anyway."""

FIRST_WAIT: Final = 0.1
LONGEST_WAIT: Final = 1.0
"""Seconds before the next attempt to connect: doubled up to the longest, less a random part.

Of a broker that comes back, a process sees nothing for as long. A thousand processes that ask once
a second are no load for it: the kernel refuses them while nobody listens.
"""

LONGEST_START_WAIT: Final = 2.0
"""The same for a consumer that cannot start: each attempt declares its queue again."""

LONGEST_REFUSED_WAIT: Final = 15.0
"""The same after a refused login, which RabbitMQ must verify, and which somebody must mend."""

STABLE_SECONDS: Final = 15.0
"""A connection that lasted longer was not dropped at once: the next wait is the first again."""


def backoff(longest: float = LONGEST_WAIT) -> Iterator[float]:
    """Yield the seconds to wait before each further attempt, without end.

    They are random, so that not all clients of a restarted broker come back at once.
    """
    for attempt in count():
        wait = min(FIRST_WAIT * 2 ** min(attempt, 16), longest)
        yield random.uniform(wait / 2, wait)  # noqa: S311 it spreads load
