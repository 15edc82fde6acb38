"""Runs invocations within the limits: finds the pipeline of a function by its name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from eventmesh.abc import Handler, Middleware, Slots
from eventmesh.aio.clock import Clock
from eventmesh.engine.concurrency.abandoned import AbandonedRuns
from eventmesh.engine.concurrency.limiter import HeldSlots, Limiter, limit_concurrency
from eventmesh.engine.policy import CallGuard
from eventmesh.engine.spec import AddGauge, FunctionSpec
from eventmesh.model.errors import FunctionNotFound
from eventmesh.model.invocation import Invocation
from eventmesh.model.result import Result
from eventmesh.model.value import value

MiddlewareFactory: TypeAlias = Callable[[FunctionSpec], Sequence[Middleware]]
"""The middlewares of a function, outermost first."""


@value
class Occupancy:
    """What the runs of one function hold while they run, also those that were abandoned."""

    limiter: Limiter
    slots: HeldSlots | None
    abandoned: AbandonedRuns


def build_occupancies(
    functions: Sequence[FunctionSpec], slots: Mapping[str, Slots]
) -> Mapping[str, Occupancy]:
    """Build what limits each function, by its name. Only some functions have `slots`."""
    return {
        function.full_name: _build_occupancy(function, slots.get(function.full_name))
        for function in functions
    }


def _build_occupancy(function: FunctionSpec, slots: Slots | None) -> Occupancy:
    limiter = Limiter(function.local_concurrency, function.limits.max_pending)
    held = None if slots is None else HeldSlots(slots)
    name, concurrency = function.full_name, function.local_concurrency
    return Occupancy(limiter, held, AbandonedRuns(name, limiter, held, concurrency))


class Dispatcher:
    """The functions of this process. Each has one limiter and one pipeline, whatever fires it."""

    __slots__ = ("_guards", "_occupancies", "_pipelines", "functions")

    def __init__(
        self,
        functions: Sequence[FunctionSpec],
        handlers: Mapping[str, Handler],
        clock: Clock,
        middleware: MiddlewareFactory,
        occupancies: Mapping[str, Occupancy],
    ) -> None:
        """`handlers` and `occupancies` are by the names of functions."""
        self.functions = {function.full_name: function for function in functions}
        self._occupancies = occupancies
        # Outermost: who is refused takes no permit, and waits for none.
        self._guards = {
            name: CallGuard(function)
            for name, function in self.functions.items()
            if function.policy.refuses
        }
        pipelines = {
            name: limit_concurrency(
                _fold(handlers[name], middleware(function)),
                occupancies[name].limiter,
                clock,
                occupancies[name].slots,
                function.limits.timeout,
            )
            for name, function in self.functions.items()
        }
        guarded = {name: guard.wrap(pipelines[name]) for name, guard in self._guards.items()}
        self._pipelines = pipelines | guarded

    def dispatch(self, invocation: Invocation) -> Awaitable[Result]:
        """Run an invocation in the pipeline of its function."""
        pipeline = self._pipelines.get(invocation.function)
        return pipeline(invocation) if pipeline is not None else _not_found(invocation)

    async def hand_back(self) -> None:
        """Have deliveries that wait for a permit or a slot requeued instead of run.

        Call it once the intakes are stopped: what is requeued before may be delivered here again.
        """
        for occupancy in self._occupancies.values():
            occupancy.limiter.hand_back()

    def gauge(self, gauge: AddGauge) -> None:
        """Show the state of the limiters in the metrics."""
        for name, occupancy in self._occupancies.items():
            gauge("throttles_total", name, partial(_statistic, occupancy.limiter, "throttled"))
            gauge("waiting", name, partial(_statistic, occupancy.limiter, "waiting"))
            gauge("abandoned_runs", name, partial(_count, occupancy.abandoned))
        for name, guard in self._guards.items():
            gauge("access_denied_total", name, partial(_denied, guard))

    def statistics(self) -> Mapping[str, Mapping[str, int]]:
        """By function: `running`, `waiting` and `throttled`."""
        return {
            name: occupancy.limiter.statistics() for name, occupancy in self._occupancies.items()
        }

    def stuck(self) -> Sequence[str]:
        """Return the names of the functions all of whose runs hang: nothing more is begun."""
        return [
            name for name, occupancy in self._occupancies.items() if occupancy.abandoned.is_stuck
        ]


def _fold(handler: Handler, middlewares: Sequence[Middleware]) -> Handler:
    for middleware in reversed(middlewares):
        handler = middleware(handler)
    return handler


def _statistic(limiter: Limiter, name: str) -> float:
    return limiter.statistics()[name]


def _count(abandoned: AbandonedRuns) -> float:
    return abandoned.count


def _denied(guard: CallGuard) -> float:
    return guard.denied


async def _not_found(invocation: Invocation) -> Result:
    return Result(b"", error=FunctionNotFound(invocation.function))
