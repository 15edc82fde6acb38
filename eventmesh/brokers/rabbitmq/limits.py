"""The limits of AMQP 0-9-1, of RabbitMQ and of its quorum queues."""

from __future__ import annotations

from typing import Final

MAX_SHORT_STRING: Final = 255
"""Bytes of a name, a routing key or a property (AMQP 0-9-1, section 4.2.5.3)."""

MAX_CHANNELS: Final = 2047
"""Channels of one connection: RabbitMQ's own default for `channel_max`."""

MAX_PREFETCH: Final = 65_535
"""Deliveries that a consumer may hold unacked (basic.qos, AMQP 0-9-1, section 1.8.3.1)."""

MAX_EXPIRATION_MS: Final = 2**32 - 1
"""Milliseconds that a message may live: RabbitMQ closes the channel for more."""

MAX_INCOMING_BODY: Final = 512 * 1024 * 1024
"""Bytes of the largest message that a RabbitMQ can be configured to accept."""

CONSUMER_TIMEOUT_MS: Final = 7 * 24 * 3600 * 1000
"""Milliseconds for which a message may stay unacked, in place of RabbitMQ's half an hour: functions
have limits of their own (https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout). Up to
3.11 RabbitMQ ignores the argument, and `consumer_timeout` in its configuration applies."""

CRASH_LIMIT: Final = 100
"""Deliveries after which RabbitMQ itself dead-letters a message of an inbox.

It is the last resort behind `settlement.MAX_CRASHES`, which counts the same and gives a reason. It
is far above that, because up to 4.2 every requeue counts. It is always declared: from 4.0 on the
default is 20 (https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling).
"""

NO_DELIVERY_LIMIT: Final = 1_000_000_000
"""A delivery limit that is never reached. -1 means "no limit" on 4.x, but 0 on 3.10."""
