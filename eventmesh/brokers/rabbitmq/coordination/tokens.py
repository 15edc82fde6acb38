"""The tokens of mesh-wide slots: a queue with one message for each slot.

How many there are is decided under a lease, whose state names the queue. A queue gets its tokens
once, before the state names it: so it has exactly as many, whatever crashes. Another limit means
another queue; RabbitMQ tells the consumers of the old one when that is deleted.

The queue is a classic one: a token is handed back thousands of times, and a quorum queue keeps
every one of these in its log until the message itself is gone, which a token never is
(https://www.rabbitmq.com/docs/quorum-queues#repeated-requeues). Nor has a classic queue a delivery
limit. When its node is lost, so is the queue, and another is made elsewhere.
"""

from __future__ import annotations

import json
import logging
from typing import Final
from uuid import uuid4

from aiormq.exceptions import ChannelNotFoundEntity
from pamqp import commands

from eventmesh.abc import Lease
from eventmesh.brokers.rabbitmq.coordination.lease import leasing
from eventmesh.brokers.rabbitmq.error_translation import answered
from eventmesh.brokers.rabbitmq.management.declarations import (
    UNANSWERED,
    Arguments,
    QueueDeclaration,
)
from eventmesh.brokers.rabbitmq.management.management import Control
from eventmesh.model.value import value

UNUSED: Final = 24 * 3600 * 1000
"""Milliseconds after which tokens that nobody uses go; they are made again when needed."""

_log: Final = logging.getLogger("eventmesh.rabbitmq")


@value
class Tokens:
    """A queue, and how many tokens there are in it and in the hands of its consumers."""

    queue: str
    count: int


async def find_tokens(control: Control, name: str, limit: int, *, insist: bool) -> Tokens:
    """The tokens under `name`, made if there are none; with `insist`, `limit` of them.

    Raises BrokerUnavailable and AccessDenied.
    """
    async with leasing(control, f"{name}.lease") as lease:
        tokens, retired = _read(lease.state)
        if tokens is None or not await _exists(control, tokens.queue):
            tokens = await _mint(control, lease, name, limit, retired)
        elif insist and tokens.count != limit:
            _log.info("%s: %d slots from now on, no longer %d", name, limit, tokens.count)
            retired.append(tokens.queue)
            tokens = await _mint(control, lease, name, limit, retired)
        if retired:
            # Also what somebody who crashed right here has left.
            for queue in retired:
                await control.delete(queue)
            await lease.save(_state(tokens, []))
        return tokens


async def _mint(
    control: Control, lease: Lease, name: str, count: int, retired: list[str]
) -> Tokens:
    tokens = Tokens(f"{name}.{uuid4().hex[:12]}", count)
    arguments = token_arguments(await control.session.server_version())
    await control.carry_out([QueueDeclaration(tokens.queue, arguments)])
    async with control.publishing.channel(confirms=True) as channel:
        for number in range(count):
            async with answered(f"making the slots {name!r}"):
                await channel.basic_publish(
                    b"",
                    routing_key=tokens.queue,
                    properties=commands.Basic.Properties(
                        message_id=f"{number}", message_type="slot", delivery_mode=2
                    ),
                    mandatory=True,
                )
    await lease.save(_state(tokens, retired))
    return tokens


def token_arguments(version: tuple[int, ...]) -> Arguments:
    """The arguments of a queue of tokens in that version of RabbitMQ.

    A token may be held for as long as a function runs. From 4.3 on no classic queue takes back what
    is unanswered for long, and none knows the argument.
    """
    arguments: dict[str, str | int | bool] = {"x-queue-type": "classic", "x-expires": UNUSED}
    if version < (4, 3):
        arguments["x-consumer-timeout"] = UNANSWERED
    return arguments


def _state(tokens: Tokens, retired: list[str]) -> bytes:
    return json.dumps({"queue": tokens.queue, "count": tokens.count, "retired": retired}).encode()


def _read(state: bytes) -> tuple[Tokens | None, list[str]]:
    """The tokens, and the queues that are to be deleted."""
    try:
        read = json.loads(state)
        return Tokens(str(read["queue"]), int(read["count"])), [str(one) for one in read["retired"]]
    except (ValueError, TypeError, KeyError):
        return None, []  # Nothing was saved yet.


async def _exists(control: Control, queue: str) -> bool:
    async with control.session.channel() as channel, answered(f"looking for {queue!r}"):
        try:
            await channel.queue_declare(queue, passive=True)
        except ChannelNotFoundEntity:
            return False  # Or its node is down: then others are made on another one.
        return True
