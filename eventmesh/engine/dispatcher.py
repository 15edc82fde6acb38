"""Runs invocations within the limits: finds the pipeline of a function by its name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from eventmesh.abc import Handler, Middleware, Slots
from eventmesh.aio.clock import Clock
from eventmesh.engine.limiter import Limiter, limit_concurrency
from eventmesh.engine.policy import CallGuard
from eventmesh.engine.spec import AddGauge, FunctionSpec
from eventmesh.model.errors import FunctionNotFound
from eventmesh.model.invocation import Invocation
from eventmesh.model.result import Result

MiddlewareFactory: TypeAlias = Callable[[FunctionSpec], Sequence[Middleware]]
"""The middlewares of a function, outermost first."""


class Dispatcher:
    """The functions of this process. Each has one limiter and one pipeline, whatever fires it."""

    __slots__ = ("_guards", "_limiters", "_pipelines", "functions")

    def __init__(
        self,
        functions: Sequence[FunctionSpec],
        handlers: Mapping[str, Handler],
        clock: Clock,
        middleware: MiddlewareFactory,
        slots: Mapping[str, Slots],
    ) -> None:
        """`handlers` and `slots` are by the names of functions; only some functions have slots."""
        self.functions = {function.full_name: function for function in functions}
        self._limiters = {
            name: Limiter(function.local_concurrency, function.limits.max_pending)
            for name, function in self.functions.items()
        }
        # Outermost: who is refused takes no permit, and waits for none.
        self._guards = {
            name: CallGuard(function)
            for name, function in self.functions.items()
            if function.policy.refuses
        }
        pipelines = {
            name: limit_concurrency(
                _fold(handlers[name], middleware(function)),
                self._limiters[name],
                clock,
                slots.get(name),
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

    def gauge(self, gauge: AddGauge) -> None:
        """Show the state of the limiters in the metrics."""
        for name, limiter in self._limiters.items():
            gauge("throttles_total", name, partial(_statistic, limiter, "throttled"))
            gauge("waiting", name, partial(_statistic, limiter, "waiting"))
        for name, guard in self._guards.items():
            gauge("access_denied_total", name, partial(_denied, guard))

    def statistics(self) -> Mapping[str, Mapping[str, int]]:
        """By function: `running`, `waiting` and `throttled`."""
        return {name: limiter.statistics() for name, limiter in self._limiters.items()}


def _fold(handler: Handler, middlewares: Sequence[Middleware]) -> Handler:
    for middleware in reversed(middlewares):
        handler = middleware(handler)
    return handler


def _statistic(limiter: Limiter, name: str) -> float:
    return limiter.statistics()[name]


def _denied(guard: CallGuard) -> float:
    return guard.denied


async def _not_found(invocation: Invocation) -> Result:
    return Result(b"", error=FunctionNotFound(invocation.function))
