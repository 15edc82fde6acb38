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
from typing import Final
from uuid import uuid4

from aiormq.exceptions import ChannelNotFoundEntity
from pamqp import commands

from eventmesh.abc import Lease
from eventmesh.brokers.rabbitmq.coordination.lease import hold_lease
from eventmesh.brokers.rabbitmq.declarations import (
    CONSUMER_TIMEOUT,
    QueueArguments,
    QueueDeclaration,
    Server,
)
from eventmesh.brokers.rabbitmq.error_translation import translate_errors
from eventmesh.brokers.rabbitmq.limits import CONSUMER_TIMEOUT_MS
from eventmesh.brokers.rabbitmq.management.management import Management
from eventmesh.engine.codecs.json_bounds import check_nodes
from eventmesh.model.errors import PayloadTooLarge
from eventmesh.model.value import value

UNUSED_TOKENS_MS: Final = 24 * 3600 * 1000
"""Milliseconds after which an unused queue of tokens expires; it is created again when needed."""

_log: Final = logging.getLogger("eventmesh.rabbitmq")


@value
class Tokens:
    """A queue, and the number of its tokens, including those that its consumers hold."""

    queue: str
    count: int


async def find_tokens(management: Management, name: str, limit: int, *, insist: bool) -> Tokens:
    """Find the tokens under `name`, or create `limit` of them; with `insist`, exactly `limit`.

    Raises BrokerUnavailable and AccessDenied.
    """
    async with hold_lease(management, f"{name}.lease") as lease:
        tokens, retired = _read(lease.state)
        if tokens is None or not await _exists(management, tokens.queue):
            tokens = await _mint(management, lease, name, limit, retired)
        elif insist and tokens.count != limit:
            _log.info("%s: %d slots from now on, no longer %d", name, limit, tokens.count)
            retired.append(tokens.queue)
            tokens = await _mint(management, lease, name, limit, retired)
        if retired:
            # Also the queues of a process that crashed at this point.
            for queue in retired:
                await management.delete(queue)
            await lease.save(_state(tokens, []))
        return tokens


async def _mint(
    management: Management, lease: Lease, name: str, count: int, retired: list[str]
) -> Tokens:
    tokens = Tokens(f"{name}.{uuid4().hex[:12]}", count)
    arguments = token_arguments(await management.server())
    await management.make_own(QueueDeclaration(tokens.queue, arguments))
    async with management.publish_connection.channel(confirms=True) as channel:
        for number in range(count):
            async with translate_errors(f"making the slots {name!r}"):
                await channel.basic_publish(
                    b"",
                    exchange=management.own_exchange,
                    routing_key=tokens.queue,
                    properties=commands.Basic.Properties(
                        message_id=f"{number}",
                        message_type="slot",
                        delivery_mode=2,
                        user_id=management.user or None,
                    ),
                    mandatory=True,
                )
    await lease.save(_state(tokens, retired))
    return tokens


def token_arguments(server: Server) -> QueueArguments:
    """Return the arguments of a queue of tokens. One may be held for as long as a function runs."""
    arguments: dict[str, str | int | bool] = {
        "x-queue-type": "classic",
        "x-expires": UNUSED_TOKENS_MS,
    }
    if server.limits_unacked_classic:
        arguments[CONSUMER_TIMEOUT] = CONSUMER_TIMEOUT_MS
    return arguments


def _state(tokens: Tokens, retired: list[str]) -> bytes:
    return json.dumps({"queue": tokens.queue, "count": tokens.count, "retired": retired}).encode()


def _read(state: bytes) -> tuple[Tokens | None, list[str]]:
    """Return the tokens, and the queues to delete."""
    try:
        check_nodes(state)
        read = json.loads(state)
        tokens = Tokens(str(read["queue"]), int(read["count"]))
        return tokens, [str(queue) for queue in read["retired"]]
    except (PayloadTooLarge, ValueError, TypeError, KeyError, RecursionError):
        return None, []  # No state was saved yet.


async def _exists(management: Management, queue: str) -> bool:
    async with (
        management.connection.channel() as channel,
        translate_errors(f"looking for {queue!r}"),
    ):
        try:
            await channel.queue_declare(queue, passive=True)
        except ChannelNotFoundEntity:
            return False  # Or its node is down: then new tokens are created on another one.
        return True
