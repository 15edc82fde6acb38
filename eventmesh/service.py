"""A service: functions, and the resources they share. Declaring touches nothing."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import (
    Any,
    Final,
    Never,
    ParamSpec,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

from eventmesh.abc import Callee, Middleware
from eventmesh.binding import compile_signature
from eventmesh.duration import Duration, seconds
from eventmesh.errors import DeclarationError
from eventmesh.function import AnyFunction, Function, Trigger
from eventmesh.policy import (
    DEFAULT_CONCURRENCY,
    DEFAULT_MAX_PAYLOAD,
    DEFAULT_TIMEOUT,
    Limits,
    Retry,
)
from eventmesh.topology import Route, check_function, check_service, destination, to_function
from eventmesh.value import value

P = ParamSpec("P")
R = TypeVar("R")
ResourceT = TypeVar("ResourceT")

Destination = str | Callee[..., Any]
"""Who is told of outcomes: "service.function", "queue:NAME", "event:TYPE", or a function."""

DEFAULT_RETRY: Final = Retry()


@value
class Resource:
    """Something of a service's lifetime, and the type by which functions ask for it."""

    kind: Any
    open: Callable[..., AbstractAsyncContextManager[Any]]
    needs: dict[str, type]


class Service:
    """A set of functions that is packaged, deployed and scaled as one.

    Raises DeclarationError for a name that cannot be one, as do its methods for whatever cannot
    work: at the line that says it, not when the service runs.
    """

    def __init__(self, name: str, *, middleware: Sequence[Middleware] = ()) -> None:
        """`middleware` is folded around every handler of the service, the first outermost."""
        self.name = check_service(name)
        self.middleware = tuple(middleware)
        self.functions: dict[str, AnyFunction] = {}
        self.resources: list[Resource] = []

    def __repr__(self) -> str:
        return f"Service({self.name!r}, {len(self.functions)} functions)"

    @overload
    def function(self, handler: Callable[P, R], /) -> Function[P, R]: ...
    @overload
    def function(
        self,
        /,
        *triggers: Trigger,
        name: str | None = None,
        timeout: Duration | None = DEFAULT_TIMEOUT,
        concurrency: int = DEFAULT_CONCURRENCY,
        reserved_concurrency: int | None = None,
        line: int | None = None,
        max_payload: int = DEFAULT_MAX_PAYLOAD,
        retry: Retry = DEFAULT_RETRY,
        on_success: Destination | None = None,
        on_failure: Destination | None = None,
    ) -> Callable[[Callable[P, R]], Function[P, R]]: ...
    def function(
        self,
        /,
        *triggers: Any,
        name: str | None = None,
        timeout: Duration | None = DEFAULT_TIMEOUT,
        concurrency: int = DEFAULT_CONCURRENCY,
        reserved_concurrency: int | None = None,
        line: int | None = None,
        max_payload: int = DEFAULT_MAX_PAYLOAD,
        retry: Retry = DEFAULT_RETRY,
        on_success: Destination | None = None,
        on_failure: Destination | None = None,
        **unknown: Never,
    ) -> Any:
        """Declare a function of this service, fired by `triggers` and by its name.

        `name` is the function's own name unless given. `timeout` is a duration, None for none.
        `concurrency` is how many runs there are at once in one process, `reserved_concurrency`
        in the whole mesh; `line` is how many synchronous callers may wait for a place (as many
        as `concurrency` unless given). `max_payload` is bytes. `retry` is for asynchronous
        invocations, whose outcome `on_success` and `on_failure` are told.
        """
        _refuse_unknown(unknown)
        if len(triggers) == 1 and inspect.isroutine(triggers[0]):
            return self.function()(triggers[0])
        limits = Limits(
            timeout=None if timeout is None else seconds(timeout, "timeout"),
            concurrency=concurrency,
            reserved_concurrency=reserved_concurrency,
            line=concurrency if line is None else line,
            max_payload=max_payload,
        )

        def declare(handler: Callable[P, R]) -> Function[P, R]:
            own_name = name or str(getattr(handler, "__name__", ""))
            full_name = check_function(f"{self.name}.{own_name}")
            if own_name in self.functions:
                raise DeclarationError(
                    f"there are two functions {full_name!r}: rename one, or give it another "
                    "name with name=…"
                )
            function = Function(
                handler,
                full_name,
                signature=compile_signature(
                    handler, [resource.kind for resource in self.resources]
                ),
                triggers=_checked(triggers, full_name),
                limits=limits,
                retry=retry,
                on_success=_route(on_success),
                on_failure=_route(on_failure),
            )
            for trigger in function.triggers:
                trigger.check(function)
            self.functions[own_name] = function
            return function

        return declare

    def resource(self, source: Callable[..., ResourceT]) -> Callable[..., ResourceT]:
        """Declare something that lives as long as the service: a database pool, a client.

        An async generator function that yields it once, or a class that is an async context
        manager. Functions declared after it get it by annotating a parameter with its type, and
        so may later resources. It is opened before the first invocation and closed after the
        last.
        """
        resource = _resource(source, [known.kind for known in self.resources])
        if any(known.kind is resource.kind for known in self.resources):
            raise DeclarationError(
                f"{self.name} has two resources of type {resource.kind.__qualname__}: "
                "give one of them a type of its own, by which it can be asked for"
            )
        self.resources.append(resource)
        return source


def _refuse_unknown(unknown: dict[str, Never]) -> None:
    if not unknown:
        return
    option = next(iter(unknown))
    options = [
        parameter.name
        for parameter in inspect.signature(Service.function).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]
    near = difflib.get_close_matches(option, options, n=1)
    advice = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(options)}"
    raise DeclarationError(f"a function has no option {option!r}: {advice}")


def _checked(triggers: Sequence[Any], full_name: str) -> list[Trigger]:
    for trigger in triggers:
        if not hasattr(trigger, "kind") or not hasattr(trigger, "source"):
            raise DeclarationError(
                f"{full_name}: {trigger!r} is no trigger; write one of on.get, on.post, on.queue, "
                "on.event, on.every, on.cron, …"
            )
    if len(set(triggers)) != len(triggers):
        raise DeclarationError(f"{full_name}: the same trigger stands twice; leave one out")
    return list(triggers)


def _route(target: Destination | None) -> Route | None:
    if target is None:
        return None
    return destination(target) if isinstance(target, str) else to_function(target.full_name)


def _resource(source: Callable[..., Any], known: Sequence[type]) -> Resource:
    name = getattr(source, "__qualname__", repr(source))
    if inspect.isclass(source):
        if not hasattr(source, "__aenter__") or not hasattr(source, "__aexit__"):
            raise DeclarationError(
                f"the class {name} is no async context manager: give it __aenter__ and "
                "__aexit__, or declare an async generator function that yields it"
            )
        opened: Any = source
        return Resource(source, opened, _needs(opened.__init__, name, known))
    if not inspect.isasyncgenfunction(source):
        raise DeclarationError(
            f"the resource {name} is no async generator function: write 'async def {name}() -> "
            "AsyncIterator[Pool]' and yield the pool once"
        )
    hints = get_type_hints(source)
    returned = hints.get("return")
    if get_origin(returned) not in (AsyncIterator, AsyncGenerator) or not get_args(returned):
        raise DeclarationError(
            f"the resource {name} does not say what it yields: annotate it with "
            "'-> AsyncIterator[Pool]', Pool being the type by which functions ask for it"
        )
    kind = get_args(returned)[0]
    return Resource(kind, asynccontextmanager(source), _needs(source, name, known))


def _needs(source: Callable[..., Any], name: str, known: Sequence[type]) -> dict[str, type]:
    if source is object.__init__:
        return {}
    hints: dict[str, Any] = get_type_hints(source)
    needs: dict[str, type] = {}
    for parameter in inspect.signature(source).parameters.values():
        if parameter.name == "self" or parameter.default is not parameter.empty:
            continue
        wanted: Any = hints.get(parameter.name)
        if wanted not in known:
            raise DeclarationError(
                f"the resource {name} asks for {parameter.name!r}, which is no resource: "
                "declare one of its type before, or give the parameter a default"
            )
        needs[parameter.name] = wanted
    return needs
