"""A service: functions, and the resources they share. Declaring touches nothing."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Final, Never, ParamSpec, TypeVar, get_args, get_origin, overload

from eventmesh.abc import Callee, Middleware
from eventmesh.engine.binding import compile_signature
from eventmesh.engine.binding.annotations import (
    format_type,
    function_of,
    hints_of,
    name_of,
    parameters_of,
    strip_optional,
)
from eventmesh.engine.function import Function
from eventmesh.engine.runtimes.registry import check_runtime, choose_runtime
from eventmesh.engine.spec import FunctionSpec, Implementation, Trigger
from eventmesh.model.duration import Duration, seconds
from eventmesh.model.errors import DeclarationError
from eventmesh.model.limits import DEFAULT_CONCURRENCY, DEFAULT_MAX_PAYLOAD, DEFAULT_TIMEOUT, Limits
from eventmesh.model.retry import Retry
from eventmesh.model.topology import Route, check_function, check_service, destination
from eventmesh.model.value import value

P = ParamSpec("P")
R = TypeVar("R")
SourceT = TypeVar("SourceT", bound=Callable[..., Any])

Destination = str | Callee[..., Any]
"""Who is told of outcomes: "service.function", "queue:NAME", "event:TYPE", or a function."""

DEFAULT_RETRY: Final = Retry()

MAX_VERSION: Final = 100
"""Characters of a service's version."""


@value
class Resource:
    """Something of a service's lifetime, and the type by which functions ask for it."""

    kind: Any
    open: Callable[..., AbstractAsyncContextManager[Any]]
    needs: Mapping[str, Any]


class Service:
    """A set of functions that is packaged, deployed and scaled as one.

    Raises DeclarationError for a name that cannot be one, as do its methods for whatever cannot
    work: at the line that says it, not when the service runs.
    """

    def __init__(
        self, name: str, *, version: str = "", middleware: Sequence[Middleware] = ()
    ) -> None:
        """`version` is what `eventmesh ps` shows of it, in words of your own: "1.4.2", a commit.

        `middleware` is folded around every handler of the service, the first outermost.
        """
        self.name = check_service(name)
        self.version = _checked_version(version)
        self.middleware = tuple(middleware)
        self.functions: dict[str, Implementation] = {}
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
        max_pending: int | None = None,
        max_payload: int = DEFAULT_MAX_PAYLOAD,
        retry: Retry = DEFAULT_RETRY,
        on_success: Destination | None = None,
        on_failure: Destination | None = None,
        runtime: str | None = None,
    ) -> Callable[[Callable[P, R]], Function[P, R]]: ...
    def function(
        self,
        /,
        *triggers: Any,
        name: str | None = None,
        timeout: Duration | None = DEFAULT_TIMEOUT,
        concurrency: int = DEFAULT_CONCURRENCY,
        reserved_concurrency: int | None = None,
        max_pending: int | None = None,
        max_payload: int = DEFAULT_MAX_PAYLOAD,
        retry: Retry = DEFAULT_RETRY,
        on_success: Destination | None = None,
        on_failure: Destination | None = None,
        runtime: str | None = None,
        **unknown: Never,
    ) -> Any:
        """Declare a function of this service, fired by `triggers` and by its name.

        `name` is the function's own name unless given. `timeout` is a duration, None for none.
        `concurrency` is how many runs there are at once in one process, `reserved_concurrency`
        in the whole mesh; `max_pending` is how many synchronous callers may wait for a
        permit (as many as `concurrency` unless given). `max_payload` is bytes, of the payload and
        of the result that a caller by name gets. `retry` is for asynchronous invocations, whose
        outcome `on_success` and `on_failure` are told.

        A handler that is no coroutine function runs in a thread, one of `concurrency`. A thread
        cannot be cancelled: it goes on after its run has timed out, which may then be retried
        beside it, and until it ends no other run gets that thread.
        """
        _refuse_unknown(unknown)
        decorated, triggers = _without_parentheses(triggers)
        limits = Limits(
            timeout=None if timeout is None else seconds(timeout, "timeout"),
            concurrency=concurrency,
            reserved_concurrency=reserved_concurrency,
            max_pending=concurrency if max_pending is None else max_pending,
            max_payload=max_payload,
        )
        _check_retry(retry, limits)

        def declare(handler: Callable[P, R]) -> Function[P, R]:
            _check_bound(handler)
            known = [resource.kind for resource in self.resources]
            signature = compile_signature(handler, known)
            own_name = _own_name(handler) if name is None else name
            full_name = check_function(f"{self.name}.{own_name}")
            code = function_of(handler)
            spec = FunctionSpec(
                full_name,
                triggers=_checked(triggers, full_name),
                limits=limits,
                retry=retry,
                on_success=_route("on_success", on_success, full_name),
                on_failure=_route("on_failure", on_failure, full_name),
                runtime=choose_runtime(runtime, is_async=signature.is_async),
                schema=signature,
                description=inspect.getdoc(handler) or "",
                code_name=f"{code.__module__}.{code.__qualname__}",
            )
            function = Function(handler, spec, signature)
            self.add(function)
            return function

        return declare if decorated is None else declare(decorated)

    def add(self, function: Implementation) -> None:
        """Declare a function that is implemented otherwise, and is run by a runtime of its own."""
        spec = function.spec
        service, _, own_name = check_function(spec.full_name).partition(".")
        if service != self.name:
            raise DeclarationError(
                f"the function {spec.full_name!r} cannot be added to the service {self.name!r}: "
                f"call it '{self.name}.{own_name}', or add it to the service {service!r}"
            )
        if own_name in self.functions:
            raise DeclarationError(
                f"there are two functions {spec.full_name!r}: rename one, or give it another "
                "name with name=…"
            )
        check_runtime(spec.runtime)
        for trigger in spec.triggers:
            trigger.check(spec)
        self.functions[own_name] = function

    @property
    def specs(self) -> list[FunctionSpec]:
        """The declarations of its functions, in the order in which they were declared."""
        return [function.spec for function in self.functions.values()]

    def resource(self, source: SourceT) -> SourceT:
        """Declare something that lives as long as the service: a database pool, a client.

        An async generator function that yields it once, or a class that is an async context
        manager, which has to give an object of that class when it is entered. Functions declared
        after it get it by annotating a parameter with its type, and so may later resources. It is
        opened before the first invocation and closed after the last.
        """
        resource = _resource(source, [known.kind for known in self.resources])
        if any(known.kind == resource.kind for known in self.resources):
            raise DeclarationError(
                f"{self.name} has two resources of type {format_type(resource.kind)}: "
                "give one of them a type of its own, by which it can be asked for"
            )
        self.resources.append(resource)
        return source


def _checked_version(version: str) -> str:
    if not isinstance(version, str) or len(version) > MAX_VERSION or not version.isprintable():
        raise DeclarationError(
            f"a service cannot have the version {version!r}: write a text of {MAX_VERSION} "
            "printable characters at most, such as '1.4.2'"
        )
    return version


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


def _without_parentheses(given: tuple[Any, ...]) -> tuple[Callable[..., Any] | None, Any]:
    """The handler, where `function` decorates it without parentheses, and the triggers."""
    if len(given) != 1 or not callable(given[0]) or _is_trigger(given[0]):
        return None, given
    (handler,) = given
    if str(getattr(handler, "__module__", "")).startswith("eventmesh.triggers"):
        raise DeclarationError(
            f"on.{handler.__name__} stands there without its arguments: write "
            f"on.{handler.__name__}(…)"
        )
    return handler, ()


def _is_trigger(one: Any) -> bool:
    return not isinstance(one, type) and hasattr(one, "kind") and hasattr(one, "source")


def _check_retry(retry: Any, limits: Limits) -> None:
    if not isinstance(retry, Retry):
        raise DeclarationError(f"retry={retry!r}: write Retry(attempts=…), 1 for no retry")
    if limits.timeout is not None and retry.attempts > 1 and limits.timeout > retry.max_age:
        raise DeclarationError(
            f"timeout={limits.timeout:g} s is longer than max_age={retry.max_age:g} s, so a run "
            "that times out is never tried again: lower the timeout, raise Retry(max_age=…) or "
            "say Retry(attempts=1)"
        )


def _check_bound(handler: Callable[..., Any]) -> None:
    if inspect.isfunction(handler) and next(iter(parameters_of(handler)), "") == "self":
        raise DeclarationError(
            f"{name_of(handler)}(self, …) is a method without its object: declare a function, or "
            "the method of an object, with service.function(…)(object.method)"
        )


def _own_name(handler: Callable[..., Any]) -> str:
    name = str(getattr(handler, "__name__", ""))
    if not name.isidentifier():
        raise DeclarationError(f"{handler!r} has no name of its own: give it one with name=…")
    return name


def _checked(triggers: Sequence[Any], full_name: str) -> tuple[Trigger, ...]:
    checked: list[Trigger] = []
    for trigger in triggers:
        if not _is_trigger(trigger):
            raise DeclarationError(
                f"{full_name}: {trigger!r} is no trigger; write one of on.get(…), on.post(…), "
                "on.queue(…), on.event(…), on.every(…), on.cron(…), …"
            )
        if trigger in checked:
            raise DeclarationError(
                f"{full_name}: the trigger {trigger.describe()!r} is listed twice; keep one of them"
            )
        checked.append(trigger)
    return tuple(checked)


def _route(option: str, target: Any, full_name: str) -> Route | None:
    if target is None:
        return None
    name = target if isinstance(target, str) else getattr(target, "full_name", None)
    if not isinstance(name, str):
        raise DeclarationError(
            f"{full_name}: {option}={target!r} is no destination; write a function, its name "
            "'service.function', 'queue:NAME' or 'event:TYPE'"
        )
    if name == full_name:
        raise DeclarationError(
            f"{full_name}: {option} names the function itself, which would never end; name another"
        )
    return destination(name)


def _resource(source: Callable[..., Any], known: Sequence[Any]) -> Resource:
    if inspect.isclass(source):
        return _class_resource(source, known)
    name = name_of(source)
    if not inspect.isasyncgenfunction(source):
        raise DeclarationError(
            f"the resource {name} is no async generator function: write 'async def {name}() -> "
            "AsyncIterator[Pool]' (without @asynccontextmanager) and yield the pool once"
        )
    hints = hints_of(source, name)
    returned = hints.get("return")
    if get_origin(returned) not in (AsyncIterator, AsyncGenerator):
        raise DeclarationError(
            f"the resource {name} does not say what it yields: annotate it with "
            "'-> AsyncIterator[Pool]', Pool being the type by which functions ask for it"
        )
    needs = _needs(name, parameters_of(source), hints, known)
    return Resource(get_args(returned)[0], asynccontextmanager(source), needs)


def _class_resource(source: type[Any], known: Sequence[Any]) -> Resource:
    name = name_of(source)
    if not hasattr(source, "__aenter__") or not hasattr(source, "__aexit__"):
        raise DeclarationError(
            f"the class {name} is no async context manager: give it __aenter__ and __aexit__, or "
            "declare an async generator function that yields it"
        )
    hints = hints_of(source.__init__, name)
    needs = _needs(name, parameters_of(source), hints, known)
    return Resource(source, partial(_entered, source), needs)


@asynccontextmanager
async def _entered(source: type[Any], **needs: Any) -> AsyncGenerator[Any]:
    async with source(**needs) as opened:
        if not isinstance(opened, source):
            raise DeclarationError(
                f"the resource {name_of(source)} gave a {type(opened).__qualname__} when it was "
                f"entered, and no {name_of(source)}, by which functions ask for it: declare an "
                "async generator function that yields it"
            )
        yield opened


def _needs(
    name: str,
    parameters: Mapping[str, inspect.Parameter],
    hints: Mapping[str, Any],
    known: Sequence[Any],
) -> dict[str, Any]:
    """The resources that a resource asks for, by its parameters; others must have a default."""
    needs: dict[str, Any] = {}
    for parameter in parameters.values():
        wanted = strip_optional(hints.get(parameter.name))
        if wanted in known:
            needs[parameter.name] = wanted
        elif parameter.default is parameter.empty and parameter.kind not in _VARIADIC:
            raise DeclarationError(
                f"the resource {name} asks for {parameter.name!r}, which is no resource: "
                "declare one of its type before, or give the parameter a default"
            )
    return needs


_VARIADIC: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
