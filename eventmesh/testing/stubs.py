"""Services as a test wants them: with stand-ins for functions and for resources."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Final, TypeAlias, TypeGuard

from eventmesh.abc import Handler, Middleware
from eventmesh.engine.codecs.json import encode, function_error
from eventmesh.engine.resources import Resource
from eventmesh.model.errors import DeclarationError, InvocationError, Signal
from eventmesh.model.invocation import Invocation
from eventmesh.model.result import Result
from eventmesh.model.topology import check_function
from eventmesh.service import Service

Stubs: TypeAlias = Mapping[Any, object]
"""Stand-ins, by the declared function that each stands in for, or by its name.

A callable is called as a function would be, with the payload bound to its parameters; one whose
parameters have no names (a Mock, `list.append`) gets the whole payload. An exception is how every
invocation fails. Anything else is what every invocation returns.
"""

Resources: TypeAlias = Mapping[Any, object]
"""Stand-ins for resources, by the type they are injected by."""

_NAMELESS: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.VAR_POSITIONAL,
    inspect.Parameter.VAR_KEYWORD,
)


def prepare_services(
    services: Sequence[Service], stubs: Stubs, resources: Resources, middleware: Middleware
) -> list[Service]:
    """Copies of the services with the stand-ins in place and `middleware` outermost.

    A stub for a function of a service that is not among them makes that service. Raises
    DeclarationError for a stand-in for nothing.
    """
    _check_resources(services, resources)
    copies = [_with_resources(service, resources) for service in services]
    real = {service.name: service for service in copies}
    others: dict[str, Service] = {}
    answers: dict[str, Result] = {}
    for target, stub in stubs.items():
        full_name = check_function(target if isinstance(target, str) else target.full_name)
        name = full_name.partition(".")[0]
        if name in real:
            _check_known(real[name], full_name)
        service = real.get(name) or others.setdefault(name, Service(name))
        _replace(service, full_name, stub)
        if not callable(stub):
            answers[full_name] = _result_for(stub)
    prepared_services = [*copies, *others.values()]
    for service in prepared_services:
        service.middleware = (middleware, _give_answers(answers), *service.middleware)
    return prepared_services


def _with_resources(service: Service, resources: Resources) -> Service:
    changed = copy.copy(service)
    changed.functions = dict(service.functions)
    changed.resources = [_replace_resource(resource, resources) for resource in service.resources]
    return changed


def _replace_resource(resource: Resource, resources: Resources) -> Resource:
    if resource.kind not in resources:
        return resource
    stand_in = resources[resource.kind]
    return Resource(resource.kind, lambda: nullcontext(stand_in), {})


def _check_resources(services: Iterable[Service], resources: Resources) -> None:
    known = {resource.kind for service in services for resource in service.resources}
    for kind in resources:
        if kind not in known:
            names = ", ".join(sorted(one.__qualname__ for one in known)) or "none at all"
            raise DeclarationError(f"{kind!r} is no resource of these services: there are {names}")


def _check_known(service: Service, full_name: str) -> None:
    if full_name.partition(".")[2] not in service.functions:
        names = ", ".join(service.functions) or "none"
        raise DeclarationError(
            f"there is no {full_name!r} to stand in for: the functions of {service.name}, which "
            f"runs in this mesh, are {names}"
        )


def _replace(service: Service, full_name: str, stub: object) -> None:
    """Put a stub in a function's place: what fired the function, if it is here, fires the stub."""
    name = full_name.partition(".")[2]
    original = service.functions.pop(name, None)
    declare = service.function(*(original.spec.triggers if original else ()), name=name)
    if not callable(stub):
        declare(_anything)
    elif _names_nothing(stub):
        declare(_with_payload(stub))
    else:
        declare(stub)


async def _anything(payload: Any = None) -> Any:
    """The handler of a stub whose answer is fixed: it is never run."""
    return payload


def _names_nothing(stub: Callable[..., Any]) -> TypeGuard[Callable[[Any], Any]]:
    """Whether no parameter can be filled by name, as with a Mock or `list.append`."""
    try:
        parameters = inspect.signature(stub).parameters.values()
    except ValueError:
        return False
    return bool(parameters) and all(one.kind in _NAMELESS for one in parameters)


def _with_payload(stub: Callable[[Any], Any]) -> Callable[[Any], Awaitable[Any]]:
    async def call(payload: Any = None) -> Any:
        returned = stub(payload)
        return await returned if inspect.isawaitable(returned) else returned

    return call


def _result_for(stub: object) -> Result:
    if isinstance(stub, (InvocationError, Signal)):
        return Result(b"", error=stub)
    return (
        Result(b"", error=function_error(stub))
        if isinstance(stub, BaseException)
        else Result(encode(stub))
    )


def _give_answers(answers: Mapping[str, Result]) -> Middleware:
    """The middleware that gives the stubs' fixed answers."""

    def wrap(handler: Handler) -> Handler:
        async def run(invocation: Invocation) -> Result:
            answer = answers.get(invocation.function)
            return await handler(invocation) if answer is None else answer

        return run

    return wrap
