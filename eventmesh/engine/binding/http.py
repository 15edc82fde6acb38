"""Binds HTTP requests to the arguments of a handler."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from pydantic import ValidationError

from eventmesh.engine.binding.annotations import parameter_error
from eventmesh.engine.binding.markers import Body, Header, Path, Query
from eventmesh.engine.binding.parameters import Parameter, payload_parameters
from eventmesh.engine.binding.payload import (
    Arguments,
    Binder,
    Payload,
    build_object_adapter,
    build_payload,
    build_payload_binder,
)
from eventmesh.engine.binding.text_values import (
    Reader,
    Shape,
    build_field_readers,
    build_reader,
    read_schema,
)
from eventmesh.engine.codecs.json import payload_error
from eventmesh.model.errors import DeclarationError, PayloadInvalid
from eventmesh.model.invocation import HttpRequest, Invocation, RouteTemplate
from eventmesh.model.limits import DEFAULT_MAX_NODES
from eventmesh.model.value import value

Source: TypeAlias = Literal["path", "query", "header", "body"]
_Part: TypeAlias = Callable[[HttpRequest], Any]
"""Returns the value that a request has for one parameter; None if it has none."""

_WHAT: Final = "the request"
_SOURCES: Final[Mapping[type, Source]] = {
    Path: "path",
    Query: "query",
    Header: "header",
    Body: "body",
}


@value
class HttpField:
    """A parameter that is filled from the path, the query or a header.

    `name` is its name in the request. If the `shape` of the parameter is an object, the whole query
    fills it: each of its own fields is a query parameter.
    """

    parameter: Parameter
    source: Source
    name: str


@value
class HttpBinding:
    """Where each parameter of a handler comes from on one route.

    `body` is None if the body is not read.
    """

    function: str
    fields: tuple[HttpField, ...]
    body: Payload | None

    @property
    def takes_json(self) -> bool:
        """Whether the body is read, and as JSON."""
        return self.body is not None and not self.body.raw

    def build_binder(self) -> Binder:
        """Build the binder of requests. Its PayloadInvalid has all reasons at once.

        The `loc` of a reason begins with "path", "query", "header" or "body".
        """
        parts: list[Binder] = []
        if self.fields:
            parts.append(_build_fields_binder(self))
        if self.body is not None:
            parts.append(_build_body_binder(self.body))
        return parts[0] if len(parts) == 1 else _join_binders(parts)


def bind_route(
    function: str,
    parameters: Sequence[Parameter],
    template: RouteTemplate,
    max_nodes: int = DEFAULT_MAX_NODES,
) -> HttpBinding:
    """Find where each parameter comes from on a route.

    Raises DeclarationError if a parameter and the route do not fit together.
    """
    route = _Route(function, frozenset(template.names), template.has_body)
    taken = payload_parameters(parameters).values()
    body_taken = any(route.fills_body(parameter) for parameter in taken)
    fields: list[HttpField] = []
    body: dict[str, Parameter] = {}
    for parameter in taken:
        source = route.source(parameter, body_taken=body_taken)
        name = _request_name(parameter, source)
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
    return HttpBinding(function, tuple(fields), build_payload(function, body, max_nodes))


def _request_name(parameter: Parameter, source: Source) -> str:
    if parameter.marker is not None and parameter.marker.alias:
        return parameter.marker.alias
    return parameter.name.replace("_", "-") if source == "header" else parameter.name


@value
class _Route:
    function: str
    path_names: frozenset[str]
    has_body: bool

    def fills_body(self, parameter: Parameter) -> bool:
        """Whether the body fills it as a whole; plain parameters then come from the query."""
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
        """Raise DeclarationError if the source cannot fill the parameter."""
        if why := self._problem(parameter, source, name):
            raise parameter_error(self.function, parameter.name, parameter.annotation, why)

    def _problem(self, parameter: Parameter, source: Source, name: str) -> str:
        marked, shape = parameter.marker is not None, parameter.shape
        if source == "body" and marked and not self.has_body:
            return "this route has no body: use on.post, on.put or on.patch, or Query()"
        if source == "path" and name not in self.path_names:
            return f"the path of this route has no {{{name}}}: add it there, or use Query()"
        if source == "query" and (shape is Shape.OTHER or (parameter.raw and not marked)):
            return "a query cannot contain this: take it from the body of on.post"
        if source in ("path", "header") and shape not in (Shape.PLAIN, Shape.ANY):
            return f"a {source} is one string: annotate it as a plain type, such as str"
        return ""

    def check_path(self, fields: Sequence[HttpField]) -> None:
        filled = {field.name for field in fields if field.source == "path"}
        if unused := sorted(self.path_names - filled):
            names = " and ".join(f"{{{name}}}" for name in unused)
            raise DeclarationError(
                f"{self.function}() has no parameter for {names} in the path: add one of that "
                "name, or mark one with Path('name')"
            )


def _join_binders(parts: Sequence[Binder]) -> Binder:
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


def _build_body_binder(body: Payload) -> Binder:
    bind = build_payload_binder(body)

    def bind_body(invocation: Invocation) -> Arguments:
        try:
            return bind(invocation)
        except PayloadInvalid as error:
            errors = [{**reason, "loc": ("body", *reason["loc"])} for reason in error.errors]
            raise PayloadInvalid(f"{_WHAT} does not fit", errors) from None

    return bind_body


def _build_fields_binder(binding: HttpBinding) -> Binder:
    by_name = {field.parameter.name: field for field in binding.fields}
    parts = [(name, _build_part(field, binding.fields)) for name, field in by_name.items()]
    parameters = {name: field.parameter for name, field in by_name.items()}
    validate = build_object_adapter(binding.function, parameters).validator.validate_python

    def bind(invocation: Invocation) -> Arguments:
        request = invocation.http
        if request is None:
            raise TypeError("this binder is for invocations that came over HTTP")
        texts = {name: found for name, part in parts if (found := part(request)) is not None}
        try:
            # Never strict: the values of a request are strings, whatever a type says.
            arguments: Arguments = validate(texts, strict=False)
        except ValidationError as error:
            reasons = payload_error(error, _WHAT)
            located = [
                {**reason, "loc": _locate(by_name, reason["loc"])} for reason in reasons.errors
            ]
            raise PayloadInvalid(reasons.message, located) from None
        return arguments

    return bind


def _locate(fields: Mapping[str, HttpField], loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    field = fields[str(loc[0])]
    if field.parameter.shape is Shape.OBJECT:
        return (field.source, *loc[1:])
    return (field.source, field.name, *loc[1:])


def _build_part(field: HttpField, fields: Sequence[HttpField]) -> _Part:
    """Build what reads the value of one parameter from a request."""
    name = field.name
    if field.parameter.shape is Shape.OBJECT:
        others = {other.name for other in fields if other.source == "query" and other is not field}
        return _build_query_part(field.parameter, others)
    read = build_reader(read_schema(field.parameter.adapter))
    match field.source:
        case "path":
            return lambda request: read((request.path[name],))
        case "header":
            return _build_header_part(name.lower(), read)
        case _:
            return lambda request: read(texts) if (texts := request.query.get(name)) else None


def _build_header_part(name: str, read: Reader) -> _Part:
    def part(request: HttpRequest) -> Any:
        text = request.headers.get(name)
        if text is None:  # The mapping does not ignore case, or has no such header.
            matching = (text for given, text in request.headers.items() if given.lower() == name)
            text = next(matching, None)
        return None if text is None else read((text,))

    return part


def _build_query_part(parameter: Parameter, others: Collection[str]) -> _Part:
    readers, last = build_field_readers(read_schema(parameter.adapter)), build_reader({})
    required = parameter.required

    def part(request: HttpRequest) -> Any:
        found = {
            name: readers.get(name, last)(texts)
            for name, texts in request.query.items()
            if texts and name not in others
        }
        return found if found or required else None

    return part
