"""Runs invocations under the limits: from a function's name to its pipeline."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from eventmesh.abc import Handler, Middleware, Slots
from eventmesh.engine.function import AddGauge, AnyFunction, Environment
from eventmesh.engine.limiter import Limiter, limit_concurrency
from eventmesh.engine.runtimes.invoker import invoker
from eventmesh.model.errors import FunctionNotFound
from eventmesh.model.invocation import Invocation
from eventmesh.model.result import Result

MiddlewareFactory: TypeAlias = Callable[[AnyFunction], Sequence[Middleware]]
"""The middlewares of a function, outermost first."""


class Dispatcher:
    """The functions of this process and their pipelines, each built once.

    A function has one limiter, whatever fires it: all its pipelines go through it.
    """

    __slots__ = ("_environment", "_handlers", "_limiters", "_middleware", "_slots", "functions")

    def __init__(
        self,
        functions: Sequence[AnyFunction],
        environment: Environment,
        middleware: MiddlewareFactory,
        slots: Mapping[str, Slots],
    ) -> None:
        self.functions = {function.full_name: function for function in functions}
        self._environment = environment
        self._middleware = middleware
        self._slots = slots
        self._limiters = {
            name: Limiter(function.local_concurrency, function.limits.max_pending)
            for name, function in self.functions.items()
        }
        self._handlers = {
            name: self.pipeline(
                function, invoker(function, environment, function.signature.by_name())
            )
            for name, function in self.functions.items()
        }

    def dispatch(self, invocation: Invocation) -> Awaitable[Result]:
        """Run an invocation by its function's name."""
        handler = self._handlers.get(invocation.function)
        return handler(invocation) if handler is not None else _not_found(invocation)

    def pipeline(self, function: AnyFunction, innermost: Handler) -> Handler:
        """`innermost` within the function's middlewares and its limits."""
        handler = innermost
        for middleware in reversed(self._middleware(function)):
            handler = middleware(handler)
        name = function.full_name
        return limit_concurrency(
            handler,
            self._limiters[name],
            self._environment.clock,
            self._slots.get(name),
            function.limits.timeout,
        )

    def gauge(self, gauge: AddGauge) -> None:
        """Show the state of the limiters in the metrics."""
        for name, limiter in self._limiters.items():
            gauge("throttles_total", name, partial(_statistic, limiter, "throttled"))
            gauge("waiting", name, partial(_statistic, limiter, "waiting"))

    def statistics(self) -> Mapping[str, Mapping[str, int]]:
        """By function: `running`, `waiting` and `throttled`."""
        return {name: limiter.statistics() for name, limiter in self._limiters.items()}


def _statistic(limiter: Limiter, name: str) -> float:
    return limiter.statistics()[name]


async def _not_found(invocation: Invocation) -> Result:
    return Result(b"", error=FunctionNotFound(invocation.function))
