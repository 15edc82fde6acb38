"""How an HTTP request becomes the arguments of a handler."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from pydantic import ValidationError

from eventmesh.engine.binding.annotations import refusal
from eventmesh.engine.binding.markers import Body, Header, Path, Query
from eventmesh.engine.binding.parameters import Parameter, taken_by_name
from eventmesh.engine.binding.payload import (
    Arguments,
    Binder,
    Payload,
    binder_of,
    object_adapter,
    payload_of,
)
from eventmesh.engine.binding.text_values import Reader, Shape, reader_of, readers_of, schema_of
from eventmesh.engine.codecs.json import payload_error
from eventmesh.model.errors import DeclarationError, PayloadInvalid
from eventmesh.model.invocation import HttpRequest, Invocation, RouteTemplate
from eventmesh.model.value import value

Source: TypeAlias = Literal["path", "query", "header", "body"]
_Part: TypeAlias = Callable[[HttpRequest], Any]
"""What a request has for one parameter; None if it has nothing."""

_WHAT: Final = "the request"
_SOURCES: Final[Mapping[type, Source]] = {
    Path: "path",
    Query: "query",
    Header: "header",
    Body: "body",
}


@value
class HttpField:
    """A parameter that the request fills from outside its body.

    `name` is what it is called in the request. A parameter whose `shape` is an object is filled
    from the query as a whole: each of its own fields is a query parameter.
    """

    parameter: Parameter
    source: Source
    name: str


@value
class HttpBinding:
    """What fills each parameter of a handler on one route.

    `body` is None where the body is not read.
    """

    function: str
    fields: tuple[HttpField, ...]
    body: Payload | None

    def build_binder(self) -> Binder:
        """Build what fills the parameters from requests, and reports all that is wrong at once.

        A reason's `loc` begins with "path", "query", "header" or "body".
        """
        parts: list[Binder] = []
        if self.fields:
            parts.append(_outside_body(self))
        if self.body is not None:
            parts.append(_inside_body(self.body))
        return parts[0] if len(parts) == 1 else _all(parts)


def bind_route(
    function: str, parameters: Sequence[Parameter], template: RouteTemplate
) -> HttpBinding:
    """Find what fills each parameter on a route.

    Raises DeclarationError where a parameter and the route do not fit each other.
    """
    route = _Route(function, frozenset(template.names), template.has_body)
    taken = taken_by_name(parameters).values()
    body_taken = any(route.fills_body(parameter) for parameter in taken)
    fields: list[HttpField] = []
    body: dict[str, Parameter] = {}
    for parameter in taken:
        source = route.source(parameter, body_taken=body_taken)
        name = _wire_name(parameter, source)
        route.check(parameter, source, name)
        if source == "body":
            body[name] = parameter
        else:
            fields.append(HttpField(parameter, source, name))
    route.check_path(fields)
    if len(fields) + len(body) < len(taken):
        raise DeclarationError(
            f"{function}() has two parameters of one name in the body: give each its own"
        )
    return HttpBinding(function, tuple(fields), payload_of(function, body))


def _wire_name(parameter: Parameter, source: Source) -> str:
    if parameter.marker is not None and parameter.marker.alias:
        return parameter.marker.alias
    return parameter.name.replace("_", "-") if source == "header" else parameter.name


@value
class _Route:
    function: str
    path_names: frozenset[str]
    has_body: bool

    def fills_body(self, parameter: Parameter) -> bool:
        """Whether the body is for this one, so that plain parameters without a marker are not."""
        if parameter.marker is None:
            in_path = parameter.name in self.path_names
            return self.has_body and parameter.fills_body and not in_path
        return isinstance(parameter.marker, Body)

    def source(self, parameter: Parameter, *, body_taken: bool) -> Source:
        if parameter.marker is not None:
            return _SOURCES[type(parameter.marker)]
        if parameter.kind == "event":
            return "body"
        if parameter.name in self.path_names:
            return "path"
        if self.has_body and (parameter.fills_body or not body_taken):
            return "body"
        return "query"

    def check(self, parameter: Parameter, source: Source, name: str) -> None:
        """Raise DeclarationError if that source cannot fill the parameter."""
        if why := self._problem(parameter, source, name):
            raise refusal(self.function, parameter.name, parameter.annotation, why)

    def _problem(self, parameter: Parameter, source: Source, name: str) -> str:
        marked, shape = parameter.marker is not None, parameter.shape
        if source == "body" and marked and not self.has_body:
            return "this route has no body: use on.post, on.put or on.patch, or Query()"
        if source == "path" and name not in self.path_names:
            return f"the path of this route has no {{{name}}}: add it there, or use Query()"
        if source == "query" and (shape is Shape.OTHER or (parameter.raw and not marked)):
            return "a query cannot hold this: take it from the body of on.post"
        if source in ("path", "header") and shape not in (Shape.PLAIN, Shape.ANY):
            return f"a {source} is one text: annotate it as a plain type, such as str"
        return ""

    def check_path(self, fields: Sequence[HttpField]) -> None:
        filled = {field.name for field in fields if field.source == "path"}
        if unused := sorted(self.path_names - filled):
            names = " and ".join(f"{{{name}}}" for name in unused)
            raise DeclarationError(
                f"{self.function}() takes nothing that is called like {names} in the path: add a "
                "parameter of that name, or mark one with Path('name')"
            )


def _all(parts: Sequence[Binder]) -> Binder:
    def bind(invocation: Invocation) -> Arguments:
        arguments: Arguments = {}
        errors: list[Mapping[str, Any]] = []
        for part in parts:
            try:
                arguments |= part(invocation)
            except PayloadInvalid as error:
                errors += error.errors
        if errors:
            raise PayloadInvalid(f"{_WHAT} does not fit", errors)
        return arguments

    return bind


def _inside_body(body: Payload) -> Binder:
    bind = binder_of(body)

    def bind_body(invocation: Invocation) -> Arguments:
        try:
            return bind(invocation)
        except PayloadInvalid as error:
            errors = [{**one, "loc": ("body", *one["loc"])} for one in error.errors]
            raise PayloadInvalid(f"{_WHAT} does not fit", errors) from None

    return bind_body


def _outside_body(plan: HttpBinding) -> Binder:
    by_name = {field.parameter.name: field for field in plan.fields}
    parts = [(name, _part(field, plan.fields)) for name, field in by_name.items()]
    parameters = {name: field.parameter for name, field in by_name.items()}
    validate = object_adapter(plan.function, parameters).validator.validate_python

    def bind(invocation: Invocation) -> Arguments:
        request = invocation.http
        if request is None:
            raise TypeError("this binder is for invocations that came over HTTP")
        texts = {name: found for name, part in parts if (found := part(request)) is not None}
        try:
            # Not strict, whatever a type says: there are only texts to begin with.
            arguments: Arguments = validate(texts, strict=False)
        except ValidationError as error:
            reasons = payload_error(error, _WHAT)
            located = [{**one, "loc": _located(by_name, one["loc"])} for one in reasons.errors]
            raise PayloadInvalid(reasons.message, located) from None
        return arguments

    return bind


def _located(fields: Mapping[str, HttpField], loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    field = fields[str(loc[0])]
    if field.parameter.shape is Shape.OBJECT:
        return (field.source, *loc[1:])
    return (field.source, field.name, *loc[1:])


def _part(field: HttpField, fields: Sequence[HttpField]) -> _Part:
    """What reads the texts for one parameter from a request."""
    name = field.name
    if field.parameter.shape is Shape.OBJECT:
        others = {one.name for one in fields if one.source == "query" and one is not field}
        return _whole_query(field.parameter, others)
    read = reader_of(schema_of(field.parameter.adapter))
    match field.source:
        case "path":
            return lambda request: read((request.path[name],))
        case "header":
            return _header(name.lower(), read)
        case _:
            return lambda request: read(texts) if (texts := request.query.get(name)) else None


def _header(name: str, read: Reader) -> _Part:
    def part(request: HttpRequest) -> Any:
        text = request.headers.get(name)
        if text is None:  # Not a mapping that ignores case, or not there at all.
            matching = (text for given, text in request.headers.items() if given.lower() == name)
            text = next(matching, None)
        return None if text is None else read((text,))

    return part


def _whole_query(parameter: Parameter, others: Collection[str]) -> _Part:
    readers, last = readers_of(schema_of(parameter.adapter)), reader_of({})
    required = parameter.required

    def part(request: HttpRequest) -> Any:
        found = {
            name: readers.get(name, last)(texts)
            for name, texts in request.query.items()
            if texts and name not in others
        }
        return found if found or required else None

    return part
