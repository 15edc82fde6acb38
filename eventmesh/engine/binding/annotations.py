"""What a handler's annotations say, once every name in them is looked up."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from types import CodeType, NoneType, UnionType
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter
from pydantic.errors import (
    PydanticSchemaGenerationError,
    PydanticUndefinedAnnotation,
    PydanticUserError,
)
from pydantic_core import SchemaError

from eventmesh.model.errors import DeclarationError

Function: TypeAlias = Callable[..., Any]


def function_of(handler: Function) -> Function:
    """The function whose code a handler runs: behind decorators, or a callable object's call.

    Raises DeclarationError for what has no signature of its own.
    """
    if isinstance(handler, (type, partial)) or not callable(handler):
        raise _no_signature(f"{handler!r}")
    target = inspect.unwrap(handler)
    return target if inspect.isroutine(target) else type(target).__call__


def parameters_of(handler: Function) -> Mapping[str, inspect.Parameter]:
    """The parameters that a handler is called with. Raises DeclarationError where none says."""
    try:
        return inspect.signature(handler).parameters
    except ValueError as error:  # Some functions written in C have none.
        raise _no_signature(f"{handler!r}") from error


def _no_signature(shown: str) -> DeclarationError:
    return DeclarationError(
        f"{shown} cannot be a function of a service: write a function that calls it, "
        "because parameters and their annotations are what its payload is checked against"
    )


def name_of(handler: Function) -> str:
    """A handler's name, as error messages show it."""
    named = getattr(handler, "__qualname__", "") or type(handler).__qualname__
    return named.rpartition(".<locals>.")[2]


def hints_of(function: Function, name: str) -> dict[str, Any]:
    """The annotations of a function, with names in strings looked up as its own code would.

    Raises DeclarationError for a name that cannot be found.
    """
    try:
        return get_type_hints(function, localns=_local_names(function), include_extras=True)
    except NameError as error:
        raise DeclarationError(
            f"{name}() has an annotation with the name {error.name!r}, which is not defined: "
            "define or import it before the function, and not under `if TYPE_CHECKING`"
        ) from error
    except (AttributeError, SyntaxError, TypeError) as error:
        raise DeclarationError(
            f"{name}() has an annotation that cannot be read ({error}): write a type"
        ) from error


def strip_optional(annotation: Any) -> Any:
    """The annotation without its metadata and without `| None`."""
    if get_origin(annotation) is Annotated:
        return strip_optional(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        others = [one for one in get_args(annotation) if one is not NoneType]
        if len(others) == 1:
            return strip_optional(others[0])
    return annotation


def metadata(annotation: Any) -> tuple[Any, ...]:
    """What `Annotated` adds to a type."""
    return get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()


def walk_type(annotation: Any) -> Iterator[Any]:
    """Whatever stands anywhere inside an annotation, metadata included, and itself."""
    yield annotation
    for argument in get_args(annotation):
        yield from walk_type(argument)


def format_type(annotation: Any) -> str:
    """An annotation as error messages show it."""
    return inspect.formatannotation(annotation).replace("<locals>.", "")


def refusal(function: str, parameter: str, annotation: Any, why: str) -> DeclarationError:
    """The error for a parameter that cannot be: which it is, why, and what to write instead."""
    return DeclarationError(f"{function}({parameter}: {format_type(annotation)}): {why}")


def adapter_of(
    annotation: Any, refuse: Callable[[str], DeclarationError], unknown: str
) -> TypeAdapter[Any]:
    """The compiled validator and serialiser of a type.

    What is none is refused; `unknown` is the advice about a class that pydantic does not know.
    """
    try:
        adapter = TypeAdapter[Any](annotation)
        adapter.rebuild(raise_errors=True)  # A model that could not be finished, or put it off.
    except PydanticSchemaGenerationError as error:
        raise refuse(unknown) from error
    except PydanticUndefinedAnnotation as error:
        raise refuse(
            f"it needs {error.name!r}, which is not defined: define or import it before this"
        ) from error
    except PydanticUserError as error:
        raise refuse(error.message.partition("\n")[0]) from error
    except (SchemaError, TypeError, ValueError) as error:
        raise refuse(f"it cannot be validated ({error}): make it a pydantic model") from error
    return adapter


def _local_names(function: Function) -> dict[str, Any]:
    """The names a function sees besides its globals.

    They are in its closure or, as annotations alone do not put a name there, in the functions
    around it, which still run while a function inside them is being declared.
    """
    code: CodeType | None = getattr(function, "__code__", None)
    if code is None:
        return {}
    names: dict[str, Any] = {}
    # By its own name and globals, not those of its code: a dataclass's __init__ is generated.
    around = set(_around(function.__qualname__))
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_qualname in around and frame.f_globals is function.__globals__:
            names = {**frame.f_locals, **names}
        frame = frame.f_back
    cells = getattr(function, "__closure__", None) or ()
    for name, cell in zip(code.co_freevars, cells, strict=True):
        with suppress(ValueError):  # A cell is empty until the name in it is assigned.
            names[name] = cell.cell_contents
    return names


def _around(qualname: str) -> Iterator[str]:
    while outer := qualname.rpartition(".<locals>.")[0]:
        yield outer
        qualname = outer
