"""What was promised, what was handled, and what became of the rest, for each kind."""

import asyncio
import time
from collections import Counter, defaultdict

from pulse import Pulse

STANDSTILL_SECONDS = 90
"""Nothing was handled for so long: what is missing by then is lost."""

DEADLINE = 180.0
"""Real seconds in which everything has recovered, on a busy machine too."""

HANDLED = (
    "asynchronous", "delayed", "retried", "event", "event_copy", "batch", "slots",
)  # fmt: skip
"""Kinds of which each confirmed one is to be handled at least once."""

KINDS = (*HANDLED, "timer", "synchronous")


class Gaps:
    """The longest time without success."""

    def __init__(self):
        self.longest = 0.0
        self.count = 0
        self._last = time.monotonic()
        self._longest_of_lap = 0.0

    def succeed(self):
        now = time.monotonic()
        gap = now - self._last
        self.longest = max(self.longest, gap)
        self._longest_of_lap = max(self._longest_of_lap, gap)
        self._last = now
        self.count += 1

    def begin(self):
        """Count from here on."""
        self.longest, self._last = 0.0, time.monotonic()

    def lap(self):
        """Return the longest that ended since the last call, or lasts, and begin another lap."""
        longest = max(self._longest_of_lap, time.monotonic() - self._last)
        self._longest_of_lap = 0.0
        return longest


class Account:
    """What is known of one kind."""

    def __init__(self):
        self.confirmed = set()
        self.refused = Counter()
        self.hung = 0
        self.handled = Counter()
        self.latest = 0.0
        self.calls = defaultdict(Gaps)
        self.runs = Gaps()

    @property
    def lost(self):
        return self.confirmed - self.handled.keys()

    @property
    def doubled(self):
        return self.handled.total() - len(self.handled)

    @property
    def longest_call_gap(self):
        """That of the client that fared worst."""
        return max((gaps.longest for gaps in self.calls.values()), default=0.0)


class Ledger:
    """The accounts of all kinds, the places taken by slots, and the ids of timers' moments."""

    def __init__(self):
        self.accounts = {kind: Account() for kind in KINDS}
        self.most_at_once = 0
        self.most_when_well = 0
        self.is_well = True
        """Whether no fault is on, nor being recovered from."""
        self.ids = defaultdict(set)
        self.is_closed = False
        self.pulse = Pulse()
        self._changed = asyncio.Event()

    def confirm(self, kinds, client, number):
        """A call of a client has succeeded; `kinds` are those that handle it."""
        for kind in kinds:
            account = self.accounts[kind]
            account.confirmed.add(number)
            account.calls[client].succeed()
        self._changed.set()

    def listen(self, _, line):
        """Take down what a worker says of what it has handled."""
        kind, what, *rest = line.split()
        if kind == "place":
            self.most_at_once = max(self.most_at_once, int(what) + 1)
            if self.is_well:
                self.most_when_well = max(self.most_when_well, int(what) + 1)
            return
        account = self.accounts[kind]
        account.handled[what if kind == "timer" else int(what)] += 1
        if not self.is_closed:
            account.runs.succeed()
        if rest:
            account.latest = max(account.latest, float(rest[0]))
        if kind == "timer":
            self.ids[what].add(rest[1])
        self._changed.set()

    async def progress(self, clients):
        """Wait until every client has succeeded with every kind, and each has been handled."""
        before = self._counts(clients)
        try:
            async with self.pulse.limit(DEADLINE):
                while stuck := self._stuck(before, clients):
                    await self._change()
        except TimeoutError:
            raise AssertionError(f"no success within {DEADLINE:.0f} s: {stuck}") from None

    def _stuck(self, before, clients):
        return [one for one, count in self._counts(clients).items() if count == before[one]]

    def _counts(self, clients):
        counts = {}
        for kind, account in self.accounts.items():
            if kind != "synchronous":
                counts[f"{kind} is handled"] = account.handled.total()
            if kind != "timer":
                for client in clients:
                    counts[f"{kind} by {client}"] = account.calls[client].count
        return counts

    async def settle(self):
        """Wait until all that was confirmed has been handled, or nothing is handled any more."""
        while any(self.accounts[kind].lost for kind in HANDLED):
            try:
                async with self.pulse.limit(STANDSTILL_SECONDS):
                    await self._change()
            except TimeoutError:
                return

    async def _change(self):
        self._changed.clear()
        await self._changed.wait()

    def begin(self):
        """All works now: what took its time to start is no gap."""
        for account in self.accounts.values():
            account.latest = 0.0
            for gaps in (account.runs, *account.calls.values()):
                gaps.begin()

    @property
    def invocations(self):
        """How many were confirmed, or answered: an event counts for each of its subscribers."""
        return sum(len(account.confirmed or account.handled) for account in self.accounts.values())

    def lap(self):
        """Return the longest gaps of each kind since the last call: of calls, and of runs."""
        return {
            kind: (
                max((gaps.lap() for gaps in account.calls.values()), default=0.0),
                account.runs.lap() if account.handled else 0.0,
            )
            for kind, account in self.accounts.items()
        }

    def close(self):
        """No call is made any more: what comes from here on measures no gap."""
        self.is_closed = True
        for account in self.accounts.values():
            account.runs.succeed()
            for gaps in account.calls.values():
                gaps.succeed()
