"""The rule: how many replicas a service should have, from figures alone.

Little's law (J. D. C. Little, 1961) says how many invocations run at once: so many as arrive in a
second, times the seconds that one takes. What waits has to be run as well, within the wanted
latency. A replica runs `slots` at once, of which `utilisation` is to be used. Nothing here reads a
clock, a queue or an engine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from eventmesh.clusters.labels import DEFAULT_CALM, DEFAULT_LATENCY
from eventmesh.model.errors import SettingsError
from eventmesh.model.value import value

MAX_REPLICAS: Final = 10_000
"""Replicas of one service that a rule may allow."""

Kind: TypeAlias = Literal["out", "in", "hold"]


@value
class Rule:
    """How a service is scaled.

    There are at least `minimum` and at most `maximum` replicas. What waits is to be begun within
    `latency` seconds. `utilisation` is the share of a replica's slots that is to be used. Replicas
    are taken away only if fewer were enough for all of the last `calm` seconds. Figures older than
    `stale` seconds decide nothing.

    Raises SettingsError if these do not fit together.
    """

    minimum: int = 0
    maximum: int = 10
    latency: float = DEFAULT_LATENCY
    utilisation: float = 0.8
    calm: float = DEFAULT_CALM
    stale: float = 10.0

    def __post_init__(self) -> None:
        if not 0 <= self.minimum <= self.maximum <= MAX_REPLICAS or not self.maximum:
            raise SettingsError(
                f"{self.minimum}..{self.maximum} is no range of replicas: write MIN..MAX, such as "
                f"0..10, with MAX from 1 to {MAX_REPLICAS:,} and not below MIN"
            )
        for name, number in (("latency", self.latency), ("stale", self.stale)):
            if not 0 < number < math.inf:
                raise SettingsError(f"{name} must be above 0 seconds, and is {number:g}")
        if not 0 < self.utilisation <= 1:
            raise SettingsError(f"utilisation is a share above 0, up to 1: not {self.utilisation}")
        if not 0 <= self.calm < math.inf:
            raise SettingsError(f"calm must be 0 seconds or more, and is {self.calm:g}")


@value
class Demand:
    """What is asked of one function.

    `arriving` are invocations a second. `duration` is the mean of the seconds that one takes; None
    if none has ended yet. `waiting` wait in queues or for a permit, `running` run. A replica runs
    `slots` at once, and the whole mesh `reserved`; None for as many as there are slots.
    """

    function: str
    arriving: float = 0.0
    duration: float | None = None
    waiting: int = 0
    running: int = 0
    slots: int = 1
    reserved: int | None = None


@value
class Observation:
    """The figures of a service at a moment, `at` in seconds of a clock that only goes forward.

    They were read `age` seconds ago. `demands` is None if it is not known what the service serves,
    because no process of it was ever seen. `kept_by` says what only a running process does, such as
    to fire a timer; "" for nothing.
    """

    at: float
    age: float
    demands: tuple[Demand, ...] | None
    kept_by: str = ""


@value
class Need:
    """So many replicas are needed, for this reason."""

    replicas: int
    reason: str


@value
class Memory:
    """What later decisions need of earlier ones.

    The figures were fresh at every decision from `since` on; None if the last were not. `needs` are
    the moments and needs that may still be the highest of the calm window.
    """

    since: float | None = None
    needs: tuple[tuple[float, Need], ...] = ()


NO_MEMORY: Final = Memory()


@value
class Decision:
    """How many replicas there should be, why, and what to remember. `need` is without bounds."""

    replicas: int
    kind: Kind
    reason: str
    need: int | None
    memory: Memory


def decide(current: int, seen: Observation, rule: Rule, memory: Memory = NO_MEMORY) -> Decision:
    """Decide how many replicas a service should have that has `current` ones.

    It holds where the figures are stale, goes out at once, and in once the need has been lower for
    a whole calm window without a gap. The result is within the rule's bounds unless it holds for
    stale figures.
    """
    if not 0 <= seen.age <= rule.stale:
        return Decision(
            current,
            "hold",
            "nothing was read yet"
            if math.isinf(seen.age)
            else f"the figures are {seen.age:.0f} s old: nothing is decided on them",
            None,
            NO_MEMORY,
        )
    if seen.demands is None:
        return _decide_unknown(current, seen, rule)
    need = find_need(seen, rule)
    memory = _remember(memory, seen.at, need, rule.calm)
    wanted = _within(need.replicas, rule)
    if wanted > current:
        return Decision(wanted, "out", _limited(need, rule), need.replicas, memory)
    allowed = min(current, rule.maximum)
    decision = Decision(allowed, "hold", _limited(need, rule), need.replicas, memory)
    if wanted < allowed:
        decision = _decide_in(allowed, seen.at, need, rule, memory)
    if decision.kind == "hold" and allowed < current:
        reason = f"{rule.maximum} are the most that are allowed"
        return Decision(allowed, "in", reason, need.replicas, memory)
    return decision


def _decide_in(current: int, at: float, need: Need, rule: Rule, memory: Memory) -> Decision:
    """Decide whether fewer replicas were enough for a whole calm window."""
    observed = 0.0 if memory.since is None else at - memory.since
    if observed < rule.calm:
        reason = f"{need.reason}; in, if that stays so for {rule.calm - observed:.0f} s"
        return Decision(current, "hold", reason, need.replicas, memory)
    # The first is the highest: `_remember` keeps them so.
    highest = memory.needs[0][1]
    lowest = min(_within(highest.replicas, rule), current)
    if lowest < current:
        reason = f"{highest.reason}: no more was needed for {rule.calm:g} s"
        return Decision(lowest, "in", reason, need.replicas, memory)
    reason = f"{need.reason}; up to {rule.calm:g} s ago it was {highest.reason}"
    return Decision(current, "hold", reason, need.replicas, memory)


def find_need(seen: Observation, rule: Rule) -> Need:
    """Return how many replicas all functions of a service need, without the rule's bounds."""
    needs = [_need_of(demand, rule) for demand in seen.demands or ()]
    if seen.kept_by:
        needs.append(Need(1, f"one runs for {seen.kept_by}"))
    return max(needs, key=lambda need: need.replicas, default=_IDLE)


_IDLE: Final = Need(0, "nothing arrives, waits or runs")


def _need_of(demand: Demand, rule: Rule) -> Need:
    """Little's law: what arrives and what waits, as invocations that run at once."""
    if not (demand.arriving > 0 or demand.waiting or demand.running):
        return _IDLE
    # Of one that was never seen to end, no more is known than what is wanted.
    duration = rule.latency if demand.duration is None else demand.duration
    # Whoever waits takes one slot at most, however long it will run.
    catching_up = demand.waiting * min(duration / rule.latency, 1.0)
    at_once = max(demand.arriving, 0.0) * duration + catching_up
    # What runs now has its slots, however well they are used: none is taken away.
    least = max(math.ceil(demand.running / demand.slots), 1)
    replicas = max(_round_up(at_once / (demand.slots * rule.utilisation)), least)
    reason = (
        f"{demand.function}: {demand.arriving:.1f}/s of {_format_duration(demand.duration)}, "
        f"{demand.waiting} waiting, {demand.running} running, {demand.slots} at once a replica"
    )
    if demand.reserved is not None:
        useful = max(math.ceil(demand.reserved / demand.slots), 1)
        if useful < replicas:
            return Need(useful, f"{reason}; {demand.reserved} at once in all")
    return Need(replicas, reason)


def _round_up(replicas: float) -> int:
    return math.ceil(min(replicas, MAX_REPLICAS))


def _format_duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown length"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _decide_unknown(current: int, seen: Observation, rule: Rule) -> Decision:
    wanted = min(max(current, rule.minimum, 1), rule.maximum)
    reason = "no process of it was seen yet"
    if wanted > current:
        reason += ": one starts, to tell what it serves"
    kind: Kind = "out" if wanted > current else "in" if wanted < current else "hold"
    return Decision(wanted, kind, reason, None, Memory(seen.at))


def _within(replicas: int, rule: Rule) -> int:
    return min(max(replicas, rule.minimum), rule.maximum)


def _limited(need: Need, rule: Rule) -> str:
    if need.replicas > rule.maximum:
        return f"{need.reason}: {need.replicas} are needed, and {rule.maximum} allowed"
    if need.replicas < rule.minimum:
        return f"{need.reason}: {rule.minimum} are the least"
    return need.reason


def _remember(memory: Memory, at: float, need: Need, calm: float) -> Memory:
    """Add a need, and forget what is older than the window or lower than what came later."""
    kept: Sequence[tuple[float, Need]] = [
        (moment, earlier)
        for moment, earlier in memory.needs
        if at - moment <= calm and earlier.replicas > need.replicas
    ]
    return Memory(at if memory.since is None else memory.since, (*kept, (at, need)))
