"""Prepares services for a test, with stubs for functions and for resources."""

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
"""Stubs by the declared function that each replaces, or by its name.

A callable is called like a function, with the payload bound to its parameters; one whose
parameters have no names (a Mock, `list.append`) gets the whole payload. An exception is raised by
every invocation. Any other value is returned by every invocation.
"""

Resources: TypeAlias = Mapping[Any, object]
"""Stubs for resources by the type of the parameters that get them."""

_NAMELESS: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.VAR_POSITIONAL,
    inspect.Parameter.VAR_KEYWORD,
)


def prepare_services(
    services: Sequence[Service], stubs: Stubs, resources: Resources, middleware: Middleware
) -> list[Service]:
    """Return copies of the services with the stubs in place and `middleware` outermost.

    A stub for a function of another service creates that service. Raises DeclarationError for a
    stub that replaces nothing.
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
        service.middleware = (middleware, _return_fixed_results(answers), *service.middleware)
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
            names = ", ".join(sorted(resource.__qualname__ for resource in known)) or "none"
            raise DeclarationError(
                f"{kind!r} is not a resource of these services, which have {names}"
            )


def _check_known(service: Service, full_name: str) -> None:
    if full_name.partition(".")[2] not in service.functions:
        names = ", ".join(service.functions) or "none"
        raise DeclarationError(
            f"there is no {full_name!r} to stub: the functions of {service.name}, which runs in "
            f"this mesh, are {names}"
        )


def _replace(service: Service, full_name: str, stub: object) -> None:
    """Replace a function by a stub, which gets the function's triggers, if it has any here."""
    name = full_name.partition(".")[2]
    original = service.functions.pop(name, None)
    declare = service.function(*(original.spec.triggers if original else ()), name=name)
    if not callable(stub):
        declare(_unused_handler)
    elif _is_nameless(stub):
        declare(_with_payload(stub))
    else:
        declare(stub)


async def _unused_handler(payload: Any = None) -> Any:
    """Stand for a stub with a fixed result, which is returned before this is called."""
    return payload


def _is_nameless(stub: Callable[..., Any]) -> TypeGuard[Callable[[Any], Any]]:
    """Return whether no parameter can be filled by name, such as with a Mock or `list.append`."""
    try:
        parameters = inspect.signature(stub).parameters.values()
    except ValueError:
        return False
    return bool(parameters) and all(parameter.kind in _NAMELESS for parameter in parameters)


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


def _return_fixed_results(answers: Mapping[str, Result]) -> Middleware:
    """Return the middleware that returns the fixed results of stubs."""

    def wrap(handler: Handler) -> Handler:
        async def run(invocation: Invocation) -> Result:
            answer = answers.get(invocation.function)
            return await handler(invocation) if answer is None else answer

        return run

    return wrap
