"""Tells one process of the mesh to drain: to take no more work, finish what runs, and end."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Final, Protocol

from pydantic import TypeAdapter, ValidationError

from eventmesh.abc import Broker
from eventmesh.aio.clock import Clock
from eventmesh.engine.codecs.envelope import result_from, to_fault
from eventmesh.model.errors import (
    AccessDenied,
    DeclarationError,
    FunctionNotFound,
    PayloadInvalid,
)
from eventmesh.model.ids import new_id
from eventmesh.model.message import Message
from eventmesh.model.topology import PRESENCE, Route
from eventmesh.model.value import value
from eventmesh.presence.instance import Instance

DRAIN: Final = "drain"
"""The type of a message that tells a process to drain; its key is that and the process's id."""

ASK_SECONDS: Final = 10.0
"""How long the process may take to answer."""

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


@value
class Draining:
    """What a process had to finish when it was told to drain."""

    instance: str
    running: int
    waiting: int


_DRAINING: Final = TypeAdapter(Draining)


class InstanceAccess(Protocol):
    """The processes of a mesh."""

    async def drain(self, instance: str) -> Draining:
        """Tell a process to take no more work, to finish what runs, and to end.

        It returns once the process has taken the order, and has the grace time of its settings
        left. Whoever keeps the process running starts another in its place. Raises
        DeclarationError for what no id can be, FunctionNotFound for a process that does not run or
        cannot be drained, AccessDenied, InvocationTimeout and BrokerUnavailable.
        """
        ...


class MeshInstances:
    """The processes, over the broker of the mesh. See `InstanceAccess`."""

    def __init__(
        self, broker: Broker, clock: Clock, gateways: Collection[str] | None = None
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._gateways = gateways

    async def drain(self, instance: str) -> Draining:
        service, _, id = instance.rpartition("/")
        if not _ID.fullmatch(id):
            raise DeclarationError(
                f"{instance!r:.99} is not the id of a process: 'eventmesh ps' shows them"
            )
        now = self._clock.now()
        deadline = self._clock.monotonic() + ASK_SECONDS
        order = Message(b"{}", new_id(), now, type=DRAIN, deadline=deadline)
        route = Route(PRESENCE, drain_key(id), name=f"process {id}")
        try:
            reply = await self._broker.request(route, order)
        except FunctionNotFound:
            raise FunctionNotFound(
                f"process {id}",
                "it does not run, has an older version, or nothing would start another in its "
                "place, as of 'eventmesh dev'; 'eventmesh ps' shows those that run",
            ) from None
        if self._gateways is not None and service and reply.sender != service:
            raise AccessDenied(f"{reply.sender!r:.99} answered for a process of {service}")
        result = result_from(reply)
        if result.error is not None:
            raise to_fault(result.error)
        return read_draining(result.body)


def drain_key(instance: str) -> str:
    """The routing key of the order to drain that process."""
    return f"{DRAIN}.{instance}"


def take_order(
    message: Message,
    gateways: Collection[str] | None,
    describe: Callable[[], Instance],
) -> bytes:
    """Return the answer to an order of this process's.

    Raises AccessDenied: where each service has a user of the broker, those of gateways may order.
    """
    if gateways is not None and message.sender not in gateways:
        raise AccessDenied(
            f"{message.sender or 'nobody'} may not drain processes: name the user in "
            "EVENTMESH_GATEWAYS"
        )
    instance = describe()
    running, waiting = sum(instance.running.values()), sum(instance.waiting.values())
    return _DRAINING.dump_json(Draining(instance.id, running, waiting))


def read_draining(body: bytes) -> Draining:
    """Read an answer. Raises PayloadInvalid."""
    try:
        return _DRAINING.validate_json(body)
    except ValidationError:
        raise PayloadInvalid(
            "the answer of the process cannot be read: it is of another version of eventmesh"
        ) from None
