"""What every broker carries: limits of the `Broker` contract, the same for all brokers.

They are those of RabbitMQ, the narrowest broker there is an adapter for. The embedded broker has
them too, so that what works in a test works on RabbitMQ. `MAX_BODY` in `message` is another one.
"""

from __future__ import annotations

import re
from typing import Final

MAX_NAME_BYTES: Final = 255
"""Bytes of a queue's name, a routing key or an id: a short string (AMQP 0-9-1, 4.2.5.3)."""

QUEUE_NAME: Final = re.compile(rf"[A-Za-z0-9_.:@#,/+ -]{{1,{MAX_NAME_BYTES}}}")
"""A queue's name: these are the characters that RabbitMQ's Python clients (pamqp) declare."""

MAX_HEADERS_BYTES: Final = 124 * 1024
"""Bytes of all headers of a message: with its properties they fit one frame, which no message may
exceed (AMQP 0-9-1, section 4.2.6). RabbitMQ's frames are 128 KiB."""

MIN_HEADERS_BYTES: Final = 4096
"""Bytes of properties and headers that a broker takes however it is configured: the smallest frame
that a peer may ask for (AMQP 0-9-1, section 4.2.3)."""
