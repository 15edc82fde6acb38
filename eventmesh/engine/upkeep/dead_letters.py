"""Lists, shows, redrives and purges dead letters.

A redriven dead letter is stored in its function's inbox before it is acknowledged: an interruption
may redrive it twice, and loses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Generator,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import field
from typing import Final, Protocol, TypeAlias
from weakref import WeakValueDictionary

from eventmesh.abc import Broker, Delivery
from eventmesh.aio.clock import Clock, TimeLimit, sleep
from eventmesh.engine.codecs.trust import believe_as
from eventmesh.engine.settlement import (
    ERROR_MESSAGE,
    ERROR_TYPE,
    FIRST_FAILURE,
    LAST_FAILURE,
    REASON,
    TRACEBACK,
    reset_for_redrive,
    without_provenance,
)
from eventmesh.model.errors import DeclarationError, Throttled
from eventmesh.model.message import Message
from eventmesh.model.topology import Queue, check_function, dead_letters, to_function
from eventmesh.model.value import value

LISTED: Final = 100
"""Dead letters that are listed unless more are asked for."""

MAX_LISTED: Final = 1000
MAX_LISTED_BYTES: Final = 32 * 1024 * 1024
"""How many dead letters are held at once to list them, with how many bytes in all, about."""

_LATEST: Final = 253_402_214_400.0
"""The beginning of the last day of the year 9999: the last that is a date in every time zone."""

MAX_REQUEUE_SECONDS: Final = 1.0
POLL_SECONDS: Final = 0.005
"""Seconds to wait until the queue counts what was requeued, and from one poll to the next."""

MAX_WAIT: Final = 10.0
MAX_WAITING: Final = 100
"""Seconds to wait for others that use the same dead letters, and how many may wait at once."""


@value
class DeadLetter:
    """An invocation that became a dead letter, and why.

    `attempts` is how often it was run, and `redeliveries` how often the last attempt was delivered
    again because its process was lost or stopped. The two failures and `created`, when it was first
    stored, are in seconds since the epoch; a failure's is 0 if it is not known. `headers` are its
    own.
    """

    id: str
    function: str
    reason: str
    error_type: str
    error_message: str
    traceback: str = field(repr=False)
    attempts: int
    redeliveries: int
    trigger: str
    created: float
    first_failure: float
    last_failure: float
    content_type: str
    headers: Mapping[str, str] = field(repr=False)
    payload: bytes = field(repr=False)


@value
class DeadLetterSummary:
    """How many dead letters a function has, and when the oldest and the newest were stored.

    Both times are in seconds since the epoch, and 0 if not known. The newest is not known if there
    are more than may be held at once.
    """

    function: str
    count: int
    oldest: float
    newest: float


ListFunctions: TypeAlias = Callable[[], Awaitable[Iterable[str]]]
"""Returns the names of the functions that are known to exist."""


class DeadLetters(Protocol):
    """The dead letters of a mesh, function by function.

    All may raise BrokerUnavailable, Throttled where too many others deal with them at once, and
    DeclarationError for a name that no function can have.
    """

    async def summarize(self) -> Sequence[DeadLetterSummary]:
        """Summarise the dead letters of each function that has some, in the order of their names.

        A broker that cannot list its queues, such as RabbitMQ, is asked about the functions that
        processes announce, and those in the records of services that its user may read.
        """
        ...

    async def list(self, function: str, limit: int = LISTED) -> Sequence[DeadLetter]:
        """The oldest ones: at most `limit`, and no more than may be held at once."""
        ...

    async def show(self, function: str, id: str) -> DeadLetter | None:
        """The one with that id, if it is among those that may be held at once."""
        ...

    async def redrive(
        self, function: str, *, id: str | None = None, limit: int | None = None
    ) -> int:
        """Store them in the function's inbox again, as if they were new, and say how many.

        The one with that id, if `show` finds it; or the oldest ones, at most `limit`. New dead
        letters meanwhile are not among them. Raises FunctionNotFound if the function has no inbox.
        """
        ...

    async def purge(self, function: str) -> int:
        """Drop them all, and say how many."""
        ...


@value
class Redriven:
    """How many dead letters were redriven, and how many others there were before."""

    count: int
    remaining: int


class BrokerDeadLetters:
    """The dead letters on a broker.

    To read dead letters is to take them from their queue and requeue them. Others do not see them
    meanwhile, so the users of one object take turns.
    """

    __slots__ = ("_broker", "_clock", "_gateways", "_list_functions", "_locks")

    def __init__(
        self,
        broker: Broker,
        clock: Clock,
        list_functions: ListFunctions | None = None,
        gateways: Collection[str] | None = None,
    ) -> None:
        """`gateways` are the users of gateways where each service has a user of the broker.

        There, what is redriven has only what is believed of its sender: who redrives it is believed
        whoever it names.
        """
        self._gateways = gateways
        self._broker = broker
        self._clock = clock
        self._list_functions = list_functions
        self._locks = _FunctionLocks(clock)

    async def summarize(self) -> Sequence[DeadLetterSummary]:
        names = _functions_from_queues(await self._broker.list_queues() or ())
        if self._list_functions is not None:
            names |= {*await self._list_functions()}
        summaries = [await self._summarize(name) for name in sorted(names)]
        return [summary for summary in summaries if summary.count]

    async def list(self, function: str, limit: int = LISTED) -> Sequence[DeadLetter]:
        return [_parse(function, message) for message in await self._browse(function)][:limit]

    async def show(self, function: str, id: str) -> DeadLetter | None:
        messages = await self._browse(function)
        found = (_parse(function, message) for message in messages if message.id == id)
        return next(found, None)

    async def redrive(
        self, function: str, *, id: str | None = None, limit: int | None = None
    ) -> int:
        if id is not None:
            return await self.redrive_these(function, {id})
        return (await self.redrive_oldest(function, limit)).count

    async def redrive_oldest(self, function: str, limit: int | None = None) -> Redriven:
        """As `redrive`, for those who go on with the rest afterwards."""
        async with self._locks.hold(function) as queue:
            if limit == 0:
                return Redriven(0, await self._broker.depth(queue))
            first = await self._broker.get(queue)
            if first is None:
                return Redriven(0, 0)
            # Only now: `depth` counts what was requeued before once the first one is taken.
            with _requeue_on_error([first]):
                waiting = 1 + await self._broker.depth(queue)
            await self._redrive(function, first)
            count = waiting if limit is None else min(limit, waiting)
            for done in range(1, count):
                delivery = await self._broker.get(queue)
                if delivery is None:
                    return Redriven(done, 0)
                await self._redrive(function, delivery)
            return Redriven(count, waiting - count)

    async def purge(self, function: str) -> int:
        async with self._locks.hold(function) as queue:
            return await self._broker.purge(queue)

    async def _browse(self, function: str) -> Sequence[Message]:
        async with self._locks.hold(function) as queue:
            taken = await _take(self._broker, queue)
            _requeue_all(taken)
            await self._wait_requeued(queue, len(taken))
        return [delivery.message for delivery in taken]

    async def _summarize(self, function: str) -> DeadLetterSummary:
        count = await self._broker.depth(dead_letters(function))
        if not count:
            return DeadLetterSummary(function, 0, 0.0, 0.0)
        letters = [_parse(function, message) for message in await self._browse(function)]
        times = [letter.last_failure or letter.created for letter in letters]
        newest = max(times, default=0.0) if count <= len(times) else 0.0
        return DeadLetterSummary(function, max(count, len(times)), min(times, default=0.0), newest)

    async def redrive_these(self, function: str, ids: Collection[str]) -> int:
        """Redrive those with these ids, as far as `show` finds them, and say how many."""
        async with self._select(function, ids) as wanted:
            for number, delivery in enumerate(wanted):
                with _requeue_on_error(wanted[number + 1 :]):
                    await self._redrive(function, delivery)
            return len(wanted)

    async def discard(self, function: str, ids: Collection[str]) -> int:
        """Drop those with these ids, as far as `show` finds them, and say how many."""
        async with self._select(function, ids) as wanted:
            for delivery in wanted:
                delivery.ack()
            return len(wanted)

    @asynccontextmanager
    async def _select(
        self, function: str, ids: Collection[str]
    ) -> AsyncGenerator[Sequence[Delivery]]:
        """Take those with these ids, of each id the oldest; the others are requeued."""
        async with self._locks.hold(function) as queue:
            taken = await _take(self._broker, queue)
            left, wanted, others = {*ids}, list[Delivery](), list[Delivery]()
            for delivery in taken:
                chosen = delivery.message.id in left
                left.discard(delivery.message.id)
                (wanted if chosen else others).append(delivery)
            _requeue_all(others)
            yield wanted
            await self._wait_requeued(queue, len(others))

    async def _wait_requeued(self, queue: Queue, count: int) -> None:
        """Wait until the queue counts so many again, or another process has taken some of them."""
        ends = self._clock.monotonic() + MAX_REQUEUE_SECONDS
        while await self._broker.depth(queue) < count and self._clock.monotonic() < ends:
            await sleep(self._clock, POLL_SECONDS)

    async def _redrive(self, function: str, delivery: Delivery) -> None:
        with _requeue_on_error([delivery]):
            # RabbitMQ itself may have set it aside, before any service looked at it.
            message = self._believed(function, delivery.message)
            fresh = reset_for_redrive(message, self._clock.now())
            await self._broker.publish(to_function(function), fresh)
        delivery.ack()

    def _believed(self, function: str, message: Message) -> Message:
        service, _, _ = function.partition(".")
        believe = believe_as(service, self._gateways)
        return believe(message) if believe else message


class _FunctionLocks:
    """One lock for each function: its dead letters are used by one task at a time."""

    __slots__ = ("_clock", "_locks", "_waiting")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._waiting = 0

    @asynccontextmanager
    async def hold(self, function: str) -> AsyncGenerator[Queue]:
        """Hold the function's lock while entered. Yields its dead-letter queue."""
        queue = dead_letters(check_function(function))
        lock = self._locks.setdefault(queue.name, asyncio.Lock())
        if lock.locked() and self._waiting >= MAX_WAITING:
            raise _throttled(function)
        self._waiting += 1
        try:
            with TimeLimit(self._clock, MAX_WAIT):
                await lock.acquire()
        except TimeoutError:
            raise _throttled(function) from None
        finally:
            self._waiting -= 1
        try:
            yield queue
        finally:
            lock.release()


def _functions_from_queues(names: Iterable[str]) -> set[str]:
    """Return the functions whose queues of dead letters are among these."""
    prefix = dead_letters("").name
    functions: set[str] = set()
    for name in names:
        if name.startswith(prefix):
            with suppress(DeclarationError):  # Another system may name its queues likewise.
                functions.add(check_function(name.removeprefix(prefix)))
    return functions


def _throttled(function: str) -> Throttled:
    return Throttled(f"other requests are using the dead letters of {function} here; retry later")


async def _take(broker: Broker, queue: Queue) -> Sequence[Delivery]:
    """Take the oldest ones, as many as may be held at once. The caller settles them.

    It takes as many even if fewer are wanted: by the order in which a broker delivers requeued
    messages (see `Broker.get`), taking only a part would change their order.
    """
    taken: list[Delivery] = []
    size = 0
    with _requeue_on_error(taken):
        while len(taken) < MAX_LISTED and size < MAX_LISTED_BYTES:
            delivery = await broker.get(queue)
            if delivery is None:
                break
            taken.append(delivery)
            size += len(delivery.message.body)
    return taken


@contextmanager
def _requeue_on_error(taken: Sequence[Delivery]) -> Generator[None]:
    """Requeue the deliveries if the block raises."""
    try:
        yield
    except BaseException:
        _requeue_all(taken)
        raise


def _requeue_all(taken: Sequence[Delivery]) -> None:
    for delivery in taken:
        delivery.requeue()


def _parse(function: str, message: Message) -> DeadLetter:
    headers = message.headers
    return DeadLetter(
        id=message.id,
        function=function,
        reason=headers.get(REASON, ""),
        error_type=headers.get(ERROR_TYPE, ""),
        error_message=headers.get(ERROR_MESSAGE, ""),
        traceback=headers.get(TRACEBACK, ""),
        attempts=message.attempt,
        redeliveries=message.redeliveries,
        trigger=message.trigger,
        created=message.timestamp,
        first_failure=_parse_time(headers.get(FIRST_FAILURE, "")),
        last_failure=_parse_time(headers.get(LAST_FAILURE, "")),
        content_type=message.content_type,
        headers=without_provenance(headers),
        payload=message.body,
    )


def _parse_time(text: str) -> float:
    """Read seconds since the epoch; 0 if it is not a time: any sender may have written it."""
    try:
        seconds = float(text)
    except ValueError:
        return 0.0
    return seconds if 0 < seconds <= _LATEST else 0.0
