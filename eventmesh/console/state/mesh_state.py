"""The state of a mesh as collections of plain values, from what its source tells."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, TypeAlias

from eventmesh.console.sources.source import Source
from eventmesh.console.state.history import NO_HISTORY, History
from eventmesh.console.state.members import run_members
from eventmesh.console.state.recorded import Recorded
from eventmesh.model.errors import InvocationError, Problem
from eventmesh.model.runs import Sight
from eventmesh.model.topology import dead_letters, inbox
from eventmesh.model.work import NOTHING, Work, find_quantile
from eventmesh.presence import Instance

Collection: TypeAlias = dict[str, Any]
"""Objects by key."""

State: TypeAlias = dict[str, Collection]
"""The collections of docs/console.md, by name."""

ReadCollection: TypeAlias = Callable[[], Mapping[str, Any]]
"""Returns a collection that does not come from the mesh."""

_NO_MORE: Final[Mapping[str, ReadCollection]] = {}

MAX_RUNS: Final = 100
"""Runs of one process that are shown, those that go on and those that have ended, each."""

MAX_SHOWN: Final = 500
"""Runs of the whole mesh that are shown, of both kinds each."""

MAX_EDGES: Final = 2_000

DEPTHS_A_ROUND: Final = 50
"""Functions whose two queues are asked for their depth in one round: the next ones are in the next,
so that a mesh of 1,000 functions costs its broker 100 short questions a second."""

WINDOW: Final = 30.0
"""Seconds over which rates and quantiles are told, about."""

_QUANTILES: Final = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))


class MeshState:
    """What is known of a mesh, made anew by each `refresh`."""

    def __init__(
        self,
        source: Source,
        recorded: Recorded,
        history: History = NO_HISTORY,
        more: Mapping[str, ReadCollection] = _NO_MORE,
    ) -> None:
        """`recorded` are functions whose queues are shown although no process serves them.

        Runs that have ended are kept in `history`. `more` are further collections, by their names.
        """
        self._more = more
        self._kept = history
        self._recorded = recorded
        self._source = source
        self._ended: OrderedDict[str, Any] = OrderedDict()
        self._edges: OrderedDict[str, Any] = OrderedDict()
        self._history: deque[tuple[float, Mapping[str, Work]]] = deque()
        self._depths: dict[str, tuple[int, int]] = {}
        self._next_depth = 0

    @property
    def collects(self) -> bool:
        """Whether runs are to be asked for also while nobody watches: a history keeps them."""
        return self._kept.is_kept

    async def collect(self) -> None:
        """Ask the source for runs alone, and keep those that have ended."""
        try:
            self._remember(await self._look())
        except Problem:
            return  # The process that the console is a part of is still starting.

    async def refresh(self) -> State:
        """Ask the source, and return the state. What cannot be asked stays as it was."""
        now = self._source.clock.now()
        sights = await self._look()
        instances = self._source.instances()
        serving = _group_by_function(instances)
        await self._ask_depths(sorted({*serving, *await self._recorded.names()}))
        self._remember(sights)
        return {
            "instances": {id: _instance_members(id, each) for id, each in instances.items()},
            "functions": self._describe_functions(serving, instances, now),
            "edges": dict(self._edges),
            "runs": dict(_list_runs(sights)),
            "ended": dict(self._ended),
            "queues": dict(self._list_queues(serving)),
            "timers": dict(_list_timers(serving)),
            "failures": {
                name: {"function": name, "count": dead, "oldest": None, "newest": None}
                for name, (_, dead) in self._depths.items()
                if dead
            },
            **{name: dict(read()) for name, read in self._more.items()},
        }

    async def _look(self) -> Sequence[Sight]:
        try:
            return await self._source.look(seconds=5.0, most=MAX_RUNS)
        except InvocationError:
            return ()  # The broker is away: the processes are still known.

    async def _ask_depths(self, names: Sequence[str]) -> None:
        for name in self._depths.keys() - set(names):
            del self._depths[name]
        begin = self._next_depth if self._next_depth < len(names) else 0
        self._next_depth = begin + DEPTHS_A_ROUND
        broker = self._source.broker
        try:
            for name in names[begin : self._next_depth]:
                waiting = await broker.depth(inbox(name))
                self._depths[name] = waiting, await broker.depth(dead_letters(name))
        except InvocationError:
            return

    def _remember(self, sights: Sequence[Sight]) -> None:
        self._kept.record(sights)
        for sight in sights:
            for run in sight.ended:
                key = f"{sight.instance}/{run.number}"
                if key not in self._ended:
                    self._ended[key] = run_members(sight.instance, run)
                self._note_edge(run.caller or f"trigger:{run.trigger}", run.function, run.trigger)
        while len(self._ended) > MAX_SHOWN:
            self._ended.popitem(last=False)

    def _note_edge(self, start: str, end: str, trigger: str) -> None:
        key = f"{start}>{end}"
        if key not in self._edges and len(self._edges) < MAX_EDGES:
            self._edges[key] = {"from": start, "to": end, "kind": trigger, "rate": None}

    def _describe_functions(
        self,
        serving: Mapping[str, Sequence[tuple[str, Mapping[str, Any]]]],
        instances: Mapping[str, Instance],
        now: float,
    ) -> Collection:
        total = _sum_work(instances)
        earlier, seconds = self._find_earlier(total, now)
        described: Collection = {}
        for name, served in serving.items():
            work = total.get(name, NOTHING)
            recent = work.since(earlier.get(name, NOTHING))
            described[name] = {
                **served[-1][1],
                "instances": [id for id, _ in served],
                "running": sum(instances[id].running.get(name, 0) for id, _ in served),
                "waiting": sum(instances[id].waiting.get(name, 0) for id, _ in served),
                "total": work.ended,
                "failed": work.failed,
                **_describe_recent(recent, seconds),
            }
        return described

    def _find_earlier(
        self, total: Mapping[str, Work], now: float
    ) -> tuple[Mapping[str, Work], float]:
        """Return what had been done about `WINDOW` seconds ago, and how long ago that was."""
        if not self._history or not 0 <= now - self._history[-1][0] < WINDOW / 6:
            self._history.append((now, total))
        while len(self._history) > 1 and now - self._history[1][0] >= WINDOW:
            self._history.popleft()
        at, earlier = self._history[0]
        return earlier, now - at

    def _list_queues(
        self, serving: Mapping[str, Sequence[tuple[str, Mapping[str, Any]]]]
    ) -> Iterator[tuple[str, Any]]:
        for name, depths in self._depths.items():
            if name not in serving and not any(depths):
                continue  # It may be gone altogether.
            consumers = len(serving.get(name, ()))
            for kind, queue, messages, consumed in (
                ("inbox", inbox(name), depths[0], consumers),
                ("dead", dead_letters(name), depths[1], 0),
            ):
                yield (
                    queue.name,
                    {
                        "name": queue.name,
                        "kind": kind,
                        "function": name,
                        "messages": messages,
                        "consumers": consumed,
                        "away": "" if consumers else "no process serves its function",
                        "oldest": None,
                    },
                )


def _describe_recent(recent: Work, seconds: float) -> dict[str, Any]:
    bounds = {name: find_quantile(recent.durations, share) for name, share in _QUANTILES}
    return {
        "rate": round(recent.ended / seconds, 2) if seconds > 0 else 0.0,
        "errors": round(recent.failed / seconds, 2) if seconds > 0 else 0.0,
        "mean": recent.seconds / recent.ended if recent.ended else None,
        **{
            name: bound if recent.ended and not math.isinf(bound) else None
            for name, bound in bounds.items()
        },
    }


def _sum_work(instances: Mapping[str, Instance]) -> Mapping[str, Work]:
    total: dict[str, Work] = {}
    for instance in instances.values():
        for name, work in instance.work.items():
            known = total.get(name)
            total[name] = work if known is None else known.plus(work)
    return total


def _group_by_function(
    instances: Mapping[str, Instance],
) -> Mapping[str, Sequence[tuple[str, Mapping[str, Any]]]]:
    """Return who serves each function, with its description there, those that began first first."""
    serving: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for id, instance in sorted(instances.items(), key=lambda each: each[1].started):
        for function in instance.functions:
            serving.setdefault(function["name"], []).append((id, function))
    return serving


def _instance_members(id: str, instance: Instance) -> dict[str, Any]:
    return {
        "id": id,
        "host": instance.host,
        "pid": instance.pid,
        "started": instance.started,
        "services": dict(instance.services),
        "running": sum(instance.running.values()),
        "waiting": sum(instance.waiting.values()),
        "functions": [function["name"] for function in instance.functions],
        "restarts": instance.restarts,
        "memory": None,
        "revision": instance.revision,
    }


def _list_runs(sights: Sequence[Sight]) -> Iterator[tuple[str, Any]]:
    runs = ((sight.instance, run) for sight in sights for run in sight.runs)
    for instance, run in islice(runs, MAX_SHOWN):
        members = run_members(instance, run)
        yield members["key"], members


def _list_timers(
    serving: Mapping[str, Sequence[tuple[str, Mapping[str, Any]]]],
) -> Iterator[tuple[str, Any]]:
    for name, served in serving.items():
        for trigger in served[-1][1]["triggers"]:
            if trigger.get("kind") in ("every", "cron", "at"):
                key = f"{name} {trigger['description']}"
                yield (
                    key,
                    {
                        "key": key,
                        "function": name,
                        "kind": trigger["kind"],
                        "schedule": trigger["description"],
                        "next": None,
                        "paused": False,
                    },
                )
