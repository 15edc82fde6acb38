"""Asks all processes which runs go on and which have ended, while somebody wants to know."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final, TypeAlias

from pydantic import TypeAdapter

from eventmesh.abc import Broker, Delivery
from eventmesh.aio.clock import Clock
from eventmesh.engine.codecs.json_bounds import check_nodes
from eventmesh.model.errors import PayloadTooLarge
from eventmesh.model.ids import new_id
from eventmesh.model.message import Message
from eventmesh.model.runs import MAX_TOLD, Question, Run, Sight
from eventmesh.model.topology import PRESENCE, Binding, presence_queue, to_presence
from eventmesh.presence.instance import LOOK, SEEN, presence_message

PREFETCH: Final = 100

MAX_ANSWER: Final = 4 * 1024 * 1024
"""Bytes of the largest answer that is taken."""

MAX_QUESTION: Final = 4096

_QUESTIONS: Final = TypeAdapter(Question)
_SIGHTS: Final = TypeAdapter(Sight)
_ASKER: Final = re.compile(r"[0-9a-f]{32}")

Look: TypeAlias = Callable[[Question], Sight]
"""Answers a question about the runs of this process."""


class Looker:
    """Asks the processes of a mesh. Answers come to what it was opened with."""

    def __init__(
        self,
        broker: Broker,
        clock: Clock,
        on_sight: Callable[[Sight], object],
        gateways: Collection[str] | None,
    ) -> None:
        self.id = new_id()
        self.refused = 0
        """Answers that were dropped: not valid, or about functions of others."""
        self._broker = broker
        self._clock = clock
        self._on_sight = on_sight
        self._gateways = gateways

    async def ask(
        self, *, find: str = "", seconds: float = 5.0, most: int = 100, describe: str = ""
    ) -> None:
        """Ask all processes once; see `Question`. Raises BrokerUnavailable."""
        body = _QUESTIONS.dump_json(Question(self.id, find, seconds, most, describe))
        await self._broker.publish(
            to_presence(LOOK), presence_message(LOOK, body, self._clock.now())
        )

    def on_answer(self, delivery: Delivery) -> None:
        """Take an answer."""
        delivery.ack()
        try:
            sight = self._read(delivery.message)
        except (PayloadTooLarge, ValueError, RecursionError):
            self.refused += 1  # Whoever writes to the broker may have sent it.
            return
        self._on_sight(sight)

    def _read(self, message: Message) -> Sight:
        if len(message.body) > MAX_ANSWER:
            raise ValueError(len(message.body))
        check_nodes(message.body)
        sight = _SIGHTS.validate_json(message.body)
        if len(sight.runs) + len(sight.ended) + len(sight.delayed) > 3 * MAX_TOLD:
            raise ValueError("it tells of too many runs")
        if self._gateways is None:
            return sight
        told = {run.function for run in (*sight.runs, *sight.ended)}
        if sight.described is not None:
            told.add(sight.described.function)
        if any(name.partition(".")[0] != message.sender for name in told):
            raise ValueError(f"{message.sender!r} speaks for others")
        # As the observer calls it.
        return replace(sight, instance=f"{message.sender}/{sight.instance}")


@asynccontextmanager
async def look_into(
    broker: Broker,
    clock: Clock,
    on_sight: Callable[[Sight], object],
    gateways: Collection[str] | None = None,
) -> AsyncGenerator[Looker]:
    """Take the answers of processes while entered; `gateways` are as for `observe`."""
    looker = Looker(broker, clock, on_sight, gateways)
    queue = presence_queue(looker.id, "seen")
    await broker.declare([queue], [Binding(queue, f"{SEEN}.{looker.id}", PRESENCE)])
    async with broker.consume(queue, looker.on_answer, prefetch=PREFETCH):
        yield looker


def read_question(message: Message, gateways: Collection[str] | None) -> Question | None:
    """Return the question in a message; None if it is none, or its sender may not ask.

    Where each service has a user of the broker, the users of gateways may.
    """
    if gateways is not None and message.sender not in gateways:
        return None
    try:
        if len(message.body) > MAX_QUESTION:
            return None
        question = _QUESTIONS.validate_json(message.body)
    except ValueError:
        return None
    return question if _ASKER.fullmatch(question.asker) else None


def dump_answer(sight: Sight, *, private: bool) -> bytes:
    """Encode an answer; `private` leaves out what was passed to functions or raised by them."""
    if private:
        # All users of the broker may listen to presence.
        sight = replace(sight, runs=_without_texts(sight.runs), ended=_without_texts(sight.ended))
    return _SIGHTS.dump_json(sight)


def _without_texts(runs: tuple[Run, ...]) -> tuple[Run, ...]:
    return tuple(replace(run, error="", payload="", redacted=False) for run in runs)
