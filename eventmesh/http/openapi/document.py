"""The OpenAPI 3.1 document of the routes of one process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from pydantic_core import PydanticSerializationError, to_jsonable_python

from eventmesh.engine.binding import HttpBinding, HttpField, Shape
from eventmesh.engine.idempotency import HEADER, MAX_KEY
from eventmesh.engine.spec import FunctionSpec
from eventmesh.http.openapi.schemas import (
    ACCEPTED,
    INVALID,
    PROBLEM,
    Json,
    Schemas,
    Use,
    schema_reference,
)
from eventmesh.http.openapi.security import security_requirements, security_schemes
from eventmesh.http.protocol import INVOCATION_ID
from eventmesh.http.route import HttpRoute, find_alternatives
from eventmesh.http.server.problems import PROBLEM_JSON, status_phrase
from eventmesh.http.server.streaming import NDJSON, SSE
from eventmesh.model.access.authorizers import Alternatives
from eventmesh.model.invocation import ASYNC
from eventmesh.model.message import BYTES, JSON
from eventmesh.model.value import value

VERSION: Final = "0.1.0"
"""OpenAPI requires a version of the document, and services need not have one."""

_INVALID_STATUS: Final = 422
_UNAUTHENTICATED: Final = 401
_INTEGER: Final = {"type": "integer"}
_STRING: Final = {"type": "string"}


def build_document(bound: Sequence[tuple[FunctionSpec, HttpRoute]], *, api: bool) -> Json:
    """Build the document of these routes; `api` says whether the control API is served, too."""
    operations = list(_operations(bound))
    schemas = Schemas([use for operation in operations for use in operation.uses()])
    paths: dict[str, Json] = {}
    canonical: dict[tuple[str, ...], HttpRoute] = {}
    for operation in operations:
        # Two templates that differ in their names only are one path (OpenAPI 3.1.1, section 4.8.8).
        first = canonical.setdefault(operation.shape, operation.route)
        method = operation.route.method.lower()
        described = operation.describe(schemas, first.names, api=api)
        paths.setdefault(first.documented_path, {}).setdefault(method, described)
    declared = [operation.auth for operation in operations if operation.auth is not None]
    security = {"securitySchemes": security_schemes(declared)} if declared else {}
    services = sorted({function.service for function, _ in bound})
    return {
        "openapi": "3.1.0",
        "info": {"title": services[0] if len(services) == 1 else "eventmesh", "version": VERSION},
        "paths": paths,
        "components": {"schemas": schemas.components(), **security},
    }


def _operations(bound: Sequence[tuple[FunctionSpec, HttpRoute]]) -> Iterator[_Operation]:
    seen: Counter[str] = Counter()
    # A route of one method goes before one of all methods.
    for function, route in sorted(bound, key=lambda each: len(each[1].methods)):
        name = function.full_name
        binding = function.schema.http_binding(route.template)
        for method in route.methods:
            one = replace(route, method=method)
            seen[name] += 1
            # An operation's id is unique: that of a function's second route has a number.
            id = name if seen[name] == 1 else f"{name}-{seen[name]}"
            body = binding.body if one.has_body else None
            yield _Operation(id, function, one, replace(binding, body=body))


@value
class _Operation:
    """One method of one path."""

    id: str
    function: FunctionSpec
    route: HttpRoute
    binding: HttpBinding

    @property
    def shape(self) -> tuple[str, ...]:
        """The path, without the names in it."""
        return tuple("{}" if "{" in segment else segment for segment in self.route.segments)

    @property
    def auth(self) -> Alternatives | None:
        """Who may use it; None for everyone."""
        return find_alternatives(self.route, self.function.auth)

    def uses(self) -> Iterator[Use]:
        """The types whose schemas it needs."""
        for field in self.binding.fields:
            yield f"{self.id} {field.parameter.name}", "validation", field.parameter.adapter
        if self.binding.body is not None:
            yield f"{self.id} body", "validation", self.binding.body.adapter
        yield f"{self.id} result", "serialization", self.function.schema.item_adapter

    def describe(self, schemas: Schemas, path_names: Sequence[str], *, api: bool) -> Json:
        """Build the operation object; `path_names` are the names in the path of the document."""
        text = self.function.description
        operation: Json = {
            "operationId": self.id,
            "tags": list(self.route.tags) or [self.function.service],
            "summary": self.route.summary or text.partition("\n")[0] or self.function.full_name,
        }
        if text:
            operation["description"] = text
        names = dict(zip(self.route.names, path_names, strict=True))
        parameters = [
            parameter
            for field in self.binding.fields
            for parameter in self._parameters(field, schemas, names)
        ]
        if self.route.idempotent:
            parameters.append(_idempotency_key(required=self.route.idempotent == "required"))
        if parameters:
            operation["parameters"] = parameters
        if self.binding.body is not None:
            media_type, content = (
                (BYTES, {})
                if self.binding.body.raw
                else (JSON, {"schema": schemas.get(f"{self.id} body")})
            )
            operation["requestBody"] = {
                # An empty body is bytes, too.
                "required": self.binding.body.required and not self.binding.body.raw,
                "content": {media_type: content},
            }
        if self.auth is not None:
            operation["security"] = security_requirements(self.auth)
        operation["responses"] = {
            **self._success(schemas, api=api),
            **{str(status): _problem(status) for status in sorted(self._problems())},
        }
        return operation

    def _parameters(
        self, field: HttpField, schemas: Schemas, path_names: Mapping[str, str]
    ) -> Iterator[Json]:
        key = f"{self.id} {field.parameter.name}"
        if field.parameter.shape is Shape.OBJECT:
            properties, required = schemas.fields(key)
            needed = required if field.parameter.required else ()
            for name, schema in properties.items():
                yield _parameter(name, "query", schema, required=name in needed)
            return
        schema = {**schemas.text(key), **_default(field)}
        name = path_names[field.name] if field.source == "path" else field.name
        operation = _parameter(name, field.source, schema, required=field.parameter.required)
        if field.parameter.description:
            operation["description"] = field.parameter.description
        yield operation

    def _success(self, schemas: Schemas, *, api: bool) -> Json:
        if self.route.mode == ASYNC:
            accepted = _response(
                "Stored; it will be run.", {JSON: {"schema": schema_reference(ACCEPTED)}}
            )
            if api:
                where = "Where to look up its outcome."
                accepted["headers"]["Location"] = {"description": where, "schema": _STRING}
            return {"202": accepted}
        status = self.route.status
        return {str(status): _response(status_phrase(status), self._content(schemas))}

    def _content(self, schemas: Schemas) -> Json:
        gives = self.function.schema
        if self.route.status in (204, 205):
            return {}
        if gives.item_type is bytes:
            return {BYTES: {}}
        schema = schemas.get(f"{self.id} result")
        if not gives.is_stream:
            return {JSON: {"schema": schema}}
        items = {"contentMediaType": JSON, "contentSchema": schema}
        lines = {"type": "string", "description": "One item a line.", **items}
        events = {"type": "string", "description": "One item an event.", **items}
        return {NDJSON: {"schema": lines}, SSE: {"schema": events}}

    def _problems(self) -> set[int]:
        """The statuses of the problems that callers may get."""
        found = {400, 429, 500, 503, *self.route.problems}
        if self.binding.fields or self.binding.body is not None:
            found.add(422)
        if self.binding.body is not None:
            found |= {408, 413, 415}
        if self.route.mode != ASYNC and self.function.limits.timeout is not None:
            found.add(504)
        if self.auth is not None:
            found |= {_UNAUTHENTICATED, 403}
        if self.route.idempotent:
            found |= {409, 422}
        return found


def _parameter(name: str, source: str, schema: Json, *, required: bool) -> Json:
    return {
        "name": name,
        "in": source,
        "required": required or source == "path",
        "schema": schema,
    }


def _idempotency_key(*, required: bool) -> Json:
    schema = {"type": "string", "minLength": 1, "maxLength": MAX_KEY}
    return {
        **_parameter(HEADER, "header", schema, required=required),
        "description": "What no other request has, such as a UUID. A repetition with the same key "
        "is not done again, and gets the answer to the first.",
    }


def _default(field: HttpField) -> Json:
    """The default of a parameter, where it has one with a JSON form."""
    default = field.parameter.default
    if field.parameter.required or default is None:
        return {}
    try:
        return {"default": to_jsonable_python(default)}
    except PydanticSerializationError:
        return {}


def _response(description: str, content: Json) -> Json:
    response: Json = {
        "description": description,
        "headers": {
            INVOCATION_ID: {"description": "The invocation's id.", "schema": _STRING},
        },
    }
    if content:
        response["content"] = content
    return response


def _problem(status: int) -> Json:
    schema = schema_reference(INVALID if status == _INVALID_STATUS else PROBLEM)
    response: Json = {
        "description": status_phrase(status),
        "content": {PROBLEM_JSON: {"schema": schema}},
    }
    if status in (429, 503):
        wait = "Seconds after which to try again."
        response["headers"] = {"Retry-After": {"description": wait, "schema": _INTEGER}}
    if status == _UNAUTHENTICATED:
        how = "How to send credentials."
        response["headers"] = {"WWW-Authenticate": {"description": how, "schema": _STRING}}
    return response
