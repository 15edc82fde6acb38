"""Reads the annotations of handlers, and resolves the names in them."""

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

AnyCallable: TypeAlias = Callable[..., Any]


def unwrap_handler(handler: AnyCallable) -> AnyCallable:
    """Return the function whose code a handler runs: under decorators, or an object's `__call__`.

    Raises DeclarationError for a handler that has no signature of its own.
    """
    if isinstance(handler, (type, partial)) or not callable(handler):
        raise _no_signature(f"{handler!r}")
    target = inspect.unwrap(handler)
    return target if inspect.isroutine(target) else type(target).__call__


def find_code(target: AnyCallable) -> tuple[str, int]:
    """Return the file of a function's code and the line in it; ("", 0) for what is none's."""
    code = getattr(target, "__code__", None)
    return (code.co_filename, code.co_firstlineno) if isinstance(code, CodeType) else ("", 0)


def inspect_parameters(handler: AnyCallable) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a handler. Raises DeclarationError if they cannot be inspected."""
    try:
        return inspect.signature(handler).parameters
    except ValueError as error:  # Some functions written in C have none.
        raise _no_signature(f"{handler!r}") from error


def _no_signature(handler: str) -> DeclarationError:
    return DeclarationError(
        f"{handler} cannot be a function of a service: write a function that calls it, "
        "because its parameters and their annotations define the payload"
    )


def handler_name(handler: AnyCallable) -> str:
    """Return the name of a handler as error messages show it."""
    named = getattr(handler, "__qualname__", "") or type(handler).__qualname__
    return named.rpartition(".<locals>.")[2]


def resolve_hints(function: AnyCallable, name: str) -> dict[str, Any]:
    """Return the annotations of a function, and resolve names in strings as its code would.

    Raises DeclarationError for a name that is not defined.
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
    """Return the annotation without its metadata and without `| None`."""
    if get_origin(annotation) is Annotated:
        return strip_optional(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        others = [member for member in get_args(annotation) if member is not NoneType]
        if len(others) == 1:
            return strip_optional(others[0])
    return annotation


def read_metadata(annotation: Any) -> tuple[Any, ...]:
    """Return the metadata that `Annotated` adds to a type."""
    return get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()


def walk_type(annotation: Any) -> Iterator[Any]:
    """Yield the annotation itself and every part of it, metadata included."""
    yield annotation
    for argument in get_args(annotation):
        yield from walk_type(argument)


def format_type(annotation: Any) -> str:
    """Return an annotation as error messages show it."""
    return inspect.formatannotation(annotation).replace("<locals>.", "")


def parameter_error(function: str, parameter: str, annotation: Any, why: str) -> DeclarationError:
    """Return the error for an invalid parameter: which one, why, and what to write instead."""
    return DeclarationError(f"{function}({parameter}: {format_type(annotation)}): {why}")


def build_adapter(
    annotation: Any, make_error: Callable[[str], DeclarationError], unknown: str
) -> TypeAdapter[Any]:
    """Compile the validator and serialiser of a type.

    Raises what `make_error` makes of the reason if pydantic cannot validate it. `unknown` is the
    reason for a class that pydantic does not know.
    """
    try:
        adapter = TypeAdapter[Any](annotation)
        adapter.rebuild(raise_errors=True)  # Fails for a model with undefined names.
    except PydanticSchemaGenerationError as error:
        raise make_error(unknown) from error
    except PydanticUndefinedAnnotation as error:
        raise make_error(
            f"it needs {error.name!r}, which is not defined: define or import it before this"
        ) from error
    except PydanticUserError as error:
        raise make_error(error.message.partition("\n")[0]) from error
    except (SchemaError, TypeError, ValueError) as error:
        raise make_error(f"it cannot be validated ({error}): make it a pydantic model") from error
    return adapter


def _local_names(function: AnyCallable) -> dict[str, Any]:
    """Return the names that a function sees besides its globals.

    They are in its closure, or in the enclosing functions: a name that only an annotation uses is
    not put into the closure. Enclosing functions still run while a function in them is declared.
    """
    code: CodeType | None = getattr(function, "__code__", None)
    if code is None:
        return {}
    names: dict[str, Any] = {}
    # By its own name and globals, not by its code: the __init__ of a dataclass is generated.
    enclosing = set(_enclosing_names(function.__qualname__))
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_qualname in enclosing and frame.f_globals is function.__globals__:
            names = {**frame.f_locals, **names}
        frame = frame.f_back
    cells = getattr(function, "__closure__", None) or ()
    for name, cell in zip(code.co_freevars, cells, strict=True):
        with suppress(ValueError):  # A cell is empty until its name is assigned.
            names[name] = cell.cell_contents
    return names


def _enclosing_names(qualname: str) -> Iterator[str]:
    while outer := qualname.rpartition(".<locals>.")[0]:
        yield outer
        qualname = outer
