"""Clients that call a function of each kind, again and again, and note what they were told."""

import asyncio
import itertools
import random
import time
from dataclasses import dataclass

from cluster_load.ledger import Ledger
from eventmesh.model.errors import EventmeshError

HUNG_SECONDS = 30.0
"""What a send promises, with the declaration of its delay queues, is 20 s."""

CALL_SECONDS = 5.0
DELAYS = (0.5, 3.0)


class Client:
    """Calls over a connection of its own, one of each kind after the other, or several."""

    def __init__(self, name, mesh, ledger: Ledger, numbers, pauses, at_once):
        """Make `at_once` calls of a kind at a time; `pauses` are seconds from one to the next."""
        self.name = name
        self.is_over = False
        self._mesh = mesh
        self._ledger = ledger
        self._numbers = numbers
        self._pauses = pauses
        self._at_once = at_once
        self._random = random.Random(name)

    def start(self, tasks):
        """Call, in tasks of a group, until `is_over`."""
        for kinds, call in (
            (("asynchronous",), self._asynchronous),
            (("delayed",), self._delayed),
            (("retried",), self._retried),
            (("event", "event_copy"), self._event),
            (("batch",), self._batch),
            (("slots",), self._slots),
            (("synchronous",), self._synchronous),
        ):
            for _ in range(self._at_once):
                tasks.create_task(self._repeat(kinds, call))

    async def _repeat(self, kinds, call):
        account = self._ledger.accounts[kinds[0]]
        # Also one that never succeeds has a time without success.
        for kind in kinds:
            _ = self._ledger.accounts[kind].calls[self.name]
        pause = self._at_once * self._pauses[kinds[0]]
        due = time.monotonic() + self._random.uniform(0, pause)
        while not self.is_over:
            # A load is so many calls a second, whatever the machine could do: what was missed
            # while a call took long is not made up for.
            due = max(due + pause, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
            number = next(self._numbers)
            try:
                async with self._ledger.pulse.limit(HUNG_SECONDS):
                    await call(number)
            except TimeoutError:
                account.hung += 1
            except EventmeshError as error:
                # Not confirmed: it may be handled or not, but no number is used twice.
                account.refused[type(error).__name__] += 1
            else:
                self._ledger.confirm(kinds, self.name, number)

    async def _asynchronous(self, number):
        await self._mesh.send("load.work", {"number": number})

    async def _delayed(self, number):
        delay = self._random.uniform(*DELAYS)
        due = time.time() + delay
        await self._mesh.send("load.later", {"number": number, "due": due}, delay=delay)

    async def _retried(self, number):
        await self._mesh.send("load.again", {"number": number})

    async def _event(self, number):
        await self._mesh.emit("load.happened", {"number": number})

    async def _batch(self, number):
        await self._mesh.send("queue:load.numbers", number)

    async def _slots(self, number):
        await self._mesh.send("load.guarded", {"number": number})

    async def _synchronous(self, number):
        doubled = await self._mesh.invoke(
            "load.double", {"number": number}, returns=int, timeout=CALL_SECONDS
        )
        assert doubled == 2 * number


@dataclass(frozen=True)
class Pace:
    """How many calls of each kind a client makes in a second, and how many at a time.

    Delayed and retried ones pass through several queues: `rate_of_delays` is theirs.
    """

    rate: float
    rate_of_delays: float
    at_once: int = 1

    @property
    def pauses(self):
        """The time between two calls of each kind, in seconds; more where a limit is."""
        usual = dict.fromkeys(("asynchronous", "event", "batch", "synchronous"), 1 / self.rate)
        delays = dict.fromkeys(("delayed", "retried"), 1 / self.rate_of_delays)
        return usual | delays | {"slots": 1.0}


class Load:
    """Several clients, and what they and the workers have told."""

    def __init__(self, meshes, pace: Pace):
        self.ledger = Ledger()
        numbers = itertools.count()
        self._clients = [
            Client(f"client {place}", mesh, self.ledger, numbers, pace.pauses, pace.at_once)
            for place, mesh in enumerate(meshes)
        ]

    def start(self, tasks):
        for client in self._clients:
            client.start(tasks)

    def stop(self):
        """Let each call that is under way be the last."""
        for client in self._clients:
            client.is_over = True

    async def progress(self):
        """Wait until everything works, for everybody."""
        await self.ledger.progress([client.name for client in self._clients])

    @staticmethod
    async def go_on(seconds):
        """Let the load go on for so long: that is how long a fault lasts."""
        await asyncio.sleep(seconds)
