"""The rules of a rollout, from figures alone: how many replicas make a share, and what follows.

Replicas of both versions consume the same queues, and the gateway's requests come by those as well:
so each replica gets as much as another, and the share of a version is that of its replicas.
"""

from __future__ import annotations

import math
from typing import Final, Literal, TypeAlias

from eventmesh.model.errors import SettingsError
from eventmesh.model.value import value
from eventmesh.model.work import Work, find_quantile

PATIENCE: Final = 10
"""Bake times after which a version that is hardly called is taken back."""

Step: TypeAlias = Literal["wait", "promote", "roll back"]


@value
class Bounds:
    """What a new version must do. Times are seconds.

    It is promoted after `bake` seconds in which at least `least` invocations ended, of which at
    most the share `max_errors` failed, and 99 % took at most `max_p99` (None: any time). Its
    processes have to be there within `start` seconds, and may be missing for `missing`.

    Raises SettingsError if these make no sense.
    """

    bake: float = 300.0
    max_errors: float = 0.01
    max_p99: float | None = None
    least: int = 20
    start: float = 120.0
    missing: float = 30.0

    def __post_init__(self) -> None:
        if not 0 <= self.max_errors <= 1:
            raise SettingsError(f"max_errors is a share from 0 to 1, and not {self.max_errors:g}")
        if not 0 <= self.bake < math.inf or self.least < 0:
            raise SettingsError("a bake time and a number of invocations are 0 or more")


@value
class Figures:
    """How a new version does.

    Its first process started `age` seconds ago, None if none was seen; nobody has seen it `waited`
    seconds after it was asked for. `work` is all that it has done. Fewer processes than wanted
    are there for `missing` seconds, 0 if all are.
    """

    waited: float
    age: float | None
    work: Work
    missing: float = 0.0


@value
class Verdict:
    """What follows, and why."""

    step: Step
    reason: str


def judge(figures: Figures, bounds: Bounds, *, rolling: bool = False) -> Verdict:
    """Decide about a new version. A bad one is taken back as soon as that is known.

    A `rolling` one is promoted once its processes are there, whatever they have done.
    """
    if figures.age is None:
        if figures.waited > bounds.start:
            return Verdict("roll back", f"no process of it came up within {bounds.start:g} s")
        return Verdict("wait", "its first process starts")
    problem = find_problem(figures, bounds)
    if problem:
        return Verdict("roll back", problem)
    if rolling:
        if figures.missing:
            return Verdict("wait", "not all of its processes are there")
        return Verdict("promote", describe(figures.work))
    return _judge_good(figures, figures.age, bounds)


def _judge_good(figures: Figures, age: float, bounds: Bounds) -> Verdict:
    """Decide about a version that is within its bounds: whether enough is known of it."""
    done = describe(figures.work)
    if age < bounds.bake:
        return Verdict("wait", f"{done}; promoted in {bounds.bake - age:.0f} s if that stays so")
    if figures.missing:
        return Verdict("wait", f"{done}; not all of its processes are there")
    if figures.work.ended >= bounds.least:
        return Verdict("promote", done)
    if age > PATIENCE * max(bounds.bake, bounds.missing):
        return Verdict("roll back", f"only {done}: too few to judge it by")
    return Verdict("wait", f"{done}, of {bounds.least} that are needed to judge it")


def find_problem(figures: Figures, bounds: Bounds) -> str:
    """Return what is above a bound; "" if nothing is, or too little is known."""
    work = figures.work
    if figures.missing > bounds.missing:
        return f"processes of it are missing for {figures.missing:.0f} s"
    if work.ended < max(bounds.least, 1):
        return ""
    if work.failed > bounds.max_errors * work.ended:
        return f"{describe(work)}: more than {bounds.max_errors:.1%} failed"
    p99 = find_quantile(work.durations, 0.99)
    if bounds.max_p99 is not None and p99 > bounds.max_p99:
        return f"{describe(work)}: more than {bounds.max_p99 * 1000:.0f} ms"
    return ""


def describe(work: Work) -> str:
    """Describe what a version has done."""
    p99 = find_quantile(work.durations, 0.99)
    slow = "over 900 s" if p99 == math.inf else f"{p99 * 1000:g} ms"
    return f"{work.ended} invocations, {work.failed} failed, 99 % within {slow}"


@value
class Replicas:
    """How many replicas of each version run side by side."""

    old: int
    new: int

    @property
    def share(self) -> float:
        """The share of the new version."""
        return self.new / (self.old + self.new)


def find_replicas(current: int, share: float, most: int) -> Replicas:
    """Return the fewest replicas of which the new ones are at most a share, and nearest to it.

    There are at least as many old ones as now, and at least one of each, and `most` in all. Raises
    SettingsError if that cannot be.
    """
    if not 0 < share < 1:
        raise SettingsError(f"a share is above 0 % and below 100 %, and not {share:.0%}")
    old = max(current, 1)
    # A billionth for shares such as 0.1, which no float is.
    if math.floor(old * share / (1 - share) + 1e-9) < 1:
        old = math.ceil((1 - share) / share - 1e-9)
    found = Replicas(old, math.floor(old * share / (1 - share) + 1e-9))
    if found.old + found.new > most:
        raise SettingsError(
            f"a share of {share:.0%} beside {current} replicas takes {found.old} old and "
            f"{found.new} new ones, and {most} are allowed: take a larger share, or more with "
            "--max-replicas"
        )
    return found
