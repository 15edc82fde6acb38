"""The resources of a service: read from their sources when they are declared."""

from __future__ import annotations

import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from functools import partial
from types import NoneType
from typing import Any, Final, TypeVar, get_args, get_origin

from eventmesh.engine.binding.annotations import (
    handler_name,
    inspect_parameters,
    resolve_hints,
    strip_optional,
)
from eventmesh.model.errors import DeclarationError
from eventmesh.model.value import value

SourceT = TypeVar("SourceT", bound=Callable[..., Any])

_YIELDED: Final = (AsyncIterator, AsyncGenerator)
_UNOPENED: Final = (
    *_YIELDED,
    AsyncIterable,
    Iterator,
    Iterable,
    Generator,
    AbstractAsyncContextManager,
    AbstractContextManager,
)
"""Types that a factory must not return, because nothing would enter or iterate the value."""
_VARIADIC: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@value
class Resource:
    """A value of a service's lifetime, and the type by which functions ask for it."""

    kind: Any
    open: Callable[..., AbstractAsyncContextManager[Any]]
    needs: Mapping[str, Any]


def read_resource(source: Callable[..., Any], known: Sequence[Any]) -> Resource:
    """Read what a class or a function provides, and which of the `known` resources it needs.

    Raises DeclarationError, with advice, for what cannot be a resource.
    """
    if inspect.isclass(source):
        return _read_class(source, known)
    name = handler_name(source)
    hints = resolve_hints(source, name)
    returned = hints.get("return")
    if inspect.isasyncgenfunction(source):
        kind, opener = _read_generator(source, name, returned)
    else:
        kind, opener = _read_factory(source, name, returned)
    return Resource(kind, opener, _read_needs(name, inspect_parameters(source), hints, known))


def _read_generator(source: Callable[..., Any], name: str, returned: Any) -> tuple[Any, Any]:
    if get_origin(returned) not in _YIELDED:
        raise DeclarationError(
            f"the resource {name} does not say what it yields: annotate it with "
            "'-> AsyncIterator[Pool]', Pool being the type by which functions ask for it"
        )
    return get_args(returned)[0], asynccontextmanager(source)


def _read_factory(source: Callable[..., Any], name: str, returned: Any) -> tuple[Any, Any]:
    if returned in (None, NoneType, Any):
        raise DeclarationError(
            f"the resource {name} does not say what it returns: annotate it with '-> Pool', the "
            "type by which functions ask for it; if it has to be closed, yield it from an async "
            f"generator function, 'async def {name}() -> AsyncIterator[Pool]'"
        )
    if inspect.isgeneratorfunction(source) or (get_origin(returned) or returned) in _UNOPENED:
        raise DeclarationError(
            f"the resource {name} is not an async generator function: write 'async def {name}() -> "
            "AsyncIterator[Pool]' (without @asynccontextmanager) and yield the pool once"
        )
    return returned, partial(_open_factory, source)


@asynccontextmanager
async def _open_factory(source: Callable[..., Any], **needs: Any) -> AsyncGenerator[Any]:
    made = source(**needs)
    yield await made if inspect.iscoroutinefunction(source) else made


def _read_class(source: type[Any], known: Sequence[Any]) -> Resource:
    name = handler_name(source)
    if not hasattr(source, "__aenter__") or not hasattr(source, "__aexit__"):
        raise DeclarationError(
            f"the class {name} is not an async context manager: give it __aenter__ and __aexit__, "
            f"or declare a function that returns one, 'def {name.lower()}() -> {name}'; an async "
            "generator function that yields it can close it"
        )
    hints = resolve_hints(source.__init__, name)
    needs = _read_needs(name, inspect_parameters(source), hints, known)
    return Resource(source, partial(_enter_class, source), needs)


@asynccontextmanager
async def _enter_class(source: type[Any], **needs: Any) -> AsyncGenerator[Any]:
    name = handler_name(source)
    async with source(**needs) as opened:
        if not isinstance(opened, source):
            raise DeclarationError(
                f"entering the resource {name} gave a {type(opened).__qualname__}, and functions "
                f"ask for a {name}: declare an async generator function that yields it"
            )
        yield opened


def _read_needs(
    name: str,
    parameters: Mapping[str, inspect.Parameter],
    hints: Mapping[str, Any],
    known: Sequence[Any],
) -> dict[str, Any]:
    """Find the resources that a resource asks for, by its parameters; others need a default."""
    needs: dict[str, Any] = {}
    for parameter in parameters.values():
        wanted = strip_optional(hints.get(parameter.name))
        if wanted in known:
            needs[parameter.name] = wanted
        elif parameter.default is parameter.empty and parameter.kind not in _VARIADIC:
            raise DeclarationError(
                f"the resource {name} asks for {parameter.name!r}, which is not a resource: "
                "declare one of its type before, or give the parameter a default"
            )
    return needs
