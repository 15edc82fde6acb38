"""The tokens of mesh-wide slots: a queue with one message for each slot.

Their number is decided under a lease, whose state names the queue. A queue gets its tokens once,
before the state names it: so their number is exact, whatever crashes. Another limit means another
queue; RabbitMQ cancels the consumers of the old one when it is deleted.

The queue is a classic one. A token is requeued thousands of times, and a quorum queue keeps every
requeue in its log until the message is acked, which a token never is
(https://www.rabbitmq.com/docs/quorum-queues#repeated-requeues). A classic queue also has no
delivery limit. It is lost with its node, and another one is created elsewhere.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Final
from uuid import uuid4

from aiormq.exceptions import ChannelNotFoundEntity
from pamqp import commands

from eventmesh.abc import Lease
from eventmesh.aio.tasks import check_cancelled
from eventmesh.brokers.rabbitmq.coordination.lease import hold_lease
from eventmesh.brokers.rabbitmq.coordination.recount import count_held
from eventmesh.brokers.rabbitmq.declarations import (
    CONSUMER_TIMEOUT,
    QueueArguments,
    Server,
)
from eventmesh.brokers.rabbitmq.error_translation import translate_errors
from eventmesh.brokers.rabbitmq.limits import CONSUMER_TIMEOUT_MS
from eventmesh.brokers.rabbitmq.management.management import Management
from eventmesh.brokers.rabbitmq.timing import AWAY_SECONDS
from eventmesh.engine.codecs.json_bounds import check_nodes
from eventmesh.model.errors import BrokerUnavailable, PayloadTooLarge
from eventmesh.model.value import value

UNUSED_TOKENS_MS: Final = 24 * 3600 * 1000
"""Milliseconds after which an unused queue of tokens expires; it is created again when needed."""

CHECK_SECONDS: Final = 30.0
"""Seconds within which lost tokens are looked for once in the whole mesh."""

MAX_RETIRED: Final = 10
"""Queues that are remembered until they can be deleted; the others expire."""

_log: Final = logging.getLogger("eventmesh.rabbitmq")


@value
class Tokens:
    """A queue, and the number of its tokens, including those that its consumers hold.

    `retired` are the queues before it that could not be deleted: perhaps their node is away.
    """

    queue: str
    count: int
    retired: tuple[str, ...] = ()


async def find_tokens(management: Management, name: str, limit: int, *, insist: bool) -> Tokens:
    """Find the tokens under `name`, or create `limit` of them; with `insist`, exactly `limit`.

    Raises BrokerUnavailable and AccessDenied.
    """
    async with hold_lease(management, f"{name}.lease") as lease:
        tokens, retired, _ = _read(lease.state)
        if tokens is None:
            tokens = await _mint(management, lease, name, limit, retired)
        elif not await _exists(management, tokens.queue):
            # It may only be away with its node: then nobody may use it again.
            retired.append(tokens.queue)
            tokens = await _mint(management, lease, name, limit, retired)
        elif insist and tokens.count != limit:
            _log.info("%s: %d slots from now on, no longer %d", name, limit, tokens.count)
            retired.append(tokens.queue)
            tokens = await _mint(management, lease, name, limit, retired)
        kept = await _retire(management, lease, tokens, retired)
        return Tokens(tokens.queue, tokens.count, kept)


async def replace_lost(management: Management, name: str, queue: str, now: float) -> bool:
    """Create the tokens anew in another queue if some in this one are lost, and return whether.

    All processes count at most once in CHECK_SECONDS together. `now` is in seconds since the epoch.
    Raises BrokerUnavailable and AccessDenied.
    """
    async with hold_lease(management, f"{name}.lease") as lease:
        tokens, retired, checked = _read(lease.state)
        if tokens is None or tokens.queue != queue or abs(now - checked) < CHECK_SECONDS:
            return False
        await lease.save(_state(tokens, retired, now))
        held = await count_held(management, tokens.queue)
        if held is None or held >= tokens.count:
            return False
        _log.warning(
            "%s: %d of %d slots are lost, and all are made anew: their queue was purged, or a "
            "policy lets its messages expire. Have RabbitMQ's policies spare names with 'em.'",
            name,
            tokens.count - held,
            tokens.count,
        )
        retired.append(tokens.queue)
        tokens = await _mint(management, lease, name, tokens.count, retired)
        await _retire(management, lease, tokens, retired)
        return True


async def delete_retired(management: Management, retired: Sequence[str]) -> tuple[str, ...]:
    """Delete queues that are used no more, and return those that cannot be deleted now.

    Raises AccessDenied.
    """
    kept: list[str] = []
    for queue in retired:
        try:
            await management.delete(queue)
        except BrokerUnavailable as error:
            check_cancelled()  # aiormq may turn a cancellation into another error.
            # Not in the way of those who need a slot; it expires if it stays.
            _log.debug("%r cannot be deleted now: %s", queue, error)
            kept.append(queue)
    return tuple(kept[-MAX_RETIRED:])


async def _retire(
    management: Management, lease: Lease, tokens: Tokens, retired: Sequence[str]
) -> tuple[str, ...]:
    """Delete queues that are used no more, also those of a process that crashed before it did."""
    if not retired:
        return ()
    kept = await delete_retired(management, retired)
    await lease.save(_state(tokens, kept))
    return kept


async def _mint(
    management: Management, lease: Lease, name: str, count: int, retired: list[str]
) -> Tokens:
    tokens = Tokens(f"{name}.{uuid4().hex[:12]}", count)
    try:
        await _fill(management, name, tokens)
    except BrokerUnavailable:
        await _delete_unfilled(management, tokens.queue)
        raise
    await lease.save(_state(tokens, retired))
    return tokens


async def _fill(management: Management, name: str, tokens: Tokens) -> None:
    arguments = token_arguments(await management.server())
    exchange = management.own_exchange
    # On one channel: two connections may be to two sides of a cluster that has fallen apart.
    async with management.publish_connection.channel(confirms=True) as channel:
        async with translate_errors(f"declaring {tokens.queue!r}"):
            await channel.queue_declare(tokens.queue, durable=True, arguments=dict(arguments))
            if exchange:
                await channel.queue_bind(tokens.queue, exchange, tokens.queue)
        for number in range(tokens.count):
            async with translate_errors(f"making the slots {name!r}"):
                await channel.basic_publish(
                    b"",
                    exchange=exchange,
                    routing_key=tokens.queue,
                    properties=commands.Basic.Properties(
                        message_id=f"{number}",
                        message_type="slot",
                        delivery_mode=2,
                        user_id=management.user or None,
                    ),
                    mandatory=True,
                )


async def _delete_unfilled(management: Management, queue: str) -> None:
    # Each attempt would leave one, for a day.
    try:
        async with (
            management.publish_connection.channel() as channel,
            translate_errors(f"deleting {queue!r}", AWAY_SECONDS),
        ):
            await channel.queue_delete(queue)
    except BrokerUnavailable as error:
        _log.debug("%r cannot be deleted now, and will expire: %s", queue, error)


def token_arguments(server: Server) -> QueueArguments:
    """Return the arguments of a queue of tokens. One may be held for as long as a function runs."""
    arguments: dict[str, str | int | bool] = {
        "x-queue-type": "classic",
        "x-expires": UNUSED_TOKENS_MS,
    }
    if server.limits_unacked_classic:
        arguments[CONSUMER_TIMEOUT] = CONSUMER_TIMEOUT_MS
    return arguments


def _state(tokens: Tokens, retired: Sequence[str], checked: float = 0.0) -> bytes:
    return json.dumps(
        {"queue": tokens.queue, "count": tokens.count, "retired": [*retired], "checked": checked}
    ).encode()


def _read(state: bytes) -> tuple[Tokens | None, list[str], float]:
    """Return the tokens, the queues to delete, and when lost tokens were last looked for."""
    try:
        check_nodes(state)
        read = json.loads(state)
        tokens = Tokens(str(read["queue"]), int(read["count"]))
        retired = [str(queue) for queue in read["retired"]]
        return tokens, retired, float(read.get("checked", 0.0))
    except (PayloadTooLarge, ValueError, TypeError, KeyError, RecursionError):
        return None, [], 0.0  # No state was saved yet.


async def _exists(management: Management, queue: str) -> bool:
    try:
        async with (
            management.connection.channel() as channel,
            translate_errors(f"looking for {queue!r}", AWAY_SECONDS),
        ):
            try:
                await channel.queue_declare(queue, passive=True)
            except ChannelNotFoundEntity:
                return False  # Or its node is down: then new tokens are created on another one.
    except BrokerUnavailable:
        if management.connection.is_open:
            return False  # From 4.x on RabbitMQ does not answer for a queue whose node is down.
        raise
    return True
