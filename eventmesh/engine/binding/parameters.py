"""The parameters of a handler: what each asks for, and what fills it."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, cast, get_args, get_origin

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from eventmesh.engine.binding.annotations import (
    build_adapter,
    format_type,
    parameter_error,
    read_metadata,
    strip_optional,
    walk_type,
)
from eventmesh.engine.binding.markers import Body, Marker
from eventmesh.engine.binding.text_values import Shape, find_shape, read_schema
from eventmesh.engine.context import Context
from eventmesh.model.access.identity import Identity
from eventmesh.model.errors import DeclarationError
from eventmesh.model.event import Event
from eventmesh.model.value import value

Kind: TypeAlias = Literal["payload", "context", "event", "identity", "resource"]

REQUIRED: Final = inspect.Parameter.empty
"""The default of a parameter that has none."""

_ANYTHING: Final = TypeAdapter[Any](Any)
_UNKNOWN: Final = (
    "JSON cannot be converted to such a value: declare it with @service.resource before this "
    "function, or make it a pydantic model"
)
_REFUSED_KINDS: Final[Mapping[object, str]] = {
    inspect.Parameter.POSITIONAL_ONLY: "remove the '/': parameters are filled by name",
    inspect.Parameter.VAR_POSITIONAL: "write one parameter annotated as a list instead of '*'",
    inspect.Parameter.VAR_KEYWORD: "write one parameter annotated as a dict instead of '**'",
}


@value
class Parameter:
    """One parameter of a handler.

    `adapter` validates its value in the payload or the request; for an event, the event's data.
    `raw` says that it takes the bytes of the payload unchanged. `resource` is the declared type of
    the resource that is injected.
    """

    name: str
    kind: Kind
    annotation: Any
    default: Any = REQUIRED
    marker: Marker | None = None
    description: str = ""
    shape: Shape = Shape.OTHER
    raw: bool = False
    adapter: TypeAdapter[Any] = _ANYTHING
    resource: type | None = None

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    @property
    def plain(self) -> bool:
        """Whether it is one field among others, and not a payload by itself.

        A model is always a payload, even a root model of a string, because callers send it so.
        """
        return self.shape is Shape.PLAIN and not self.raw and not _is_model(self.annotation)

    @property
    def fills_body(self) -> bool:
        """Whether it is the whole payload if no other parameter takes a part of it."""
        return not self.plain or isinstance(self.marker, Body)


def read_parameters(
    function: str,
    parameters: Mapping[str, inspect.Parameter],
    hints: Mapping[str, Any],
    resources: Collection[type],
) -> tuple[Parameter, ...]:
    """Read the parameters of a handler. Raises DeclarationError for one that nothing can fill."""
    read = tuple(
        _ParameterParser(function, declared, hints.get(name, Any)).parse(resources)
        for name, declared in parameters.items()
    )
    _check_together(function, read)
    return read


def payload_parameters(parameters: Sequence[Parameter]) -> dict[str, Parameter]:
    """Return the parameters that the payload or the request fills, by their names."""
    return {
        parameter.name: parameter
        for parameter in parameters
        if parameter.kind in ("payload", "event")
    }


def _check_together(function: str, parameters: Sequence[Parameter]) -> None:
    by_kind: dict[Kind, list[str]] = {}
    for parameter in parameters:
        by_kind.setdefault(parameter.kind, []).append(parameter.name)
    for kind in ("context", "event", "identity"):
        if len(names := by_kind.get(kind, ())) > 1:
            raise DeclarationError(
                f"{function}() asks for the {kind} {len(names)} times, as {' and '.join(names)}: "
                "keep one of them"
            )
    if "event" in by_kind and "payload" in by_kind:
        (event,), others = by_kind["event"], by_kind["payload"]
        raise DeclarationError(
            f"{function}() has both the event {event!r} and {' and '.join(map(repr, others))}, "
            f"but the event is the whole payload: read {event}.data, typed by Event[...], instead"
        )


@value
class _ParameterParser:
    """Makes a `Parameter` from the declared one."""

    function: str
    declared: inspect.Parameter
    annotation: Any

    def error(self, why: str) -> DeclarationError:
        return parameter_error(self.function, self.declared.name, self.annotation, why)

    def parse(self, resources: Collection[type]) -> Parameter:
        if advice := _REFUSED_KINDS.get(self.declared.kind):
            raise self.error(advice)
        wanted = strip_optional(self.annotation)
        if isinstance(wanted, type) and issubclass(wanted, Context):
            return self._injected("context")
        if wanted is Identity:
            return self._injected("identity")
        if (get_origin(wanted) or wanted) is Event:
            return self._event(wanted)
        if resource := self._resource(wanted, resources):
            return self._injected("resource", resource)
        return self._payload(wanted)

    def _injected(self, kind: Kind, resource: type | None = None) -> Parameter:
        return Parameter(
            self.declared.name, kind, self.annotation, self.declared.default, resource=resource
        )

    def _event(self, wanted: Any) -> Parameter:
        (data,) = get_args(wanted) or (Any,)
        return Parameter(
            self.declared.name,
            "event",
            self.annotation,
            raw=strip_optional(data) is bytes,
            adapter=build_adapter(data, self.error, _UNKNOWN),
        )

    def _resource(self, wanted: Any, resources: Collection[type]) -> type | None:
        """Find the resource to inject: of exactly that type, or the only one derived from it."""
        derived = [kind for kind in resources if wanted is not object and _is_a(kind, wanted)]
        if wanted in derived:
            return cast(type, wanted)
        if len(derived) > 1:
            names = " and ".join(format_type(kind) for kind in derived)
            raise self.error(f"the resources {names} are of that type: name one of them")
        return derived[0] if derived else None

    def _payload(self, wanted: Any) -> Parameter:
        marker = self._marker()
        self._check_metadata()
        adapter = build_adapter(self.annotation, self.error, _UNKNOWN)
        return Parameter(
            self.declared.name,
            "payload",
            self.annotation,
            self.declared.default,
            marker,
            self._description(marker),
            find_shape(read_schema(adapter)),
            wanted is bytes,
            adapter,
        )

    def _marker(self) -> Marker | None:
        if isinstance(self.declared.default, (FieldInfo, Marker)):
            raise self.error(
                "a marker as the default would be passed on when the function is called directly: "
                "write Annotated[type, marker], and the real default after it"
            )
        metadata = read_metadata(self.annotation)
        markers = [marker for marker in metadata if isinstance(marker, Marker)]
        if len(markers) > 1:
            raise self.error(
                "it can come from one part of the request only: keep one of the markers"
            )
        return markers[0] if markers else None

    def _check_metadata(self) -> None:
        """Raise DeclarationError for metadata that would have no effect where it is."""
        outermost = read_metadata(self.annotation)
        for part in walk_type(self.annotation):
            kind = get_origin(part) or part
            if isinstance(kind, type) and issubclass(kind, Marker):
                raise self.error(f"a marker is an object: write {kind.__name__}()")
            if isinstance(kind, type) and issubclass(kind, (Context, Event, Identity)):
                raise self.error(
                    f"{kind.__name__} cannot be a part of another type: annotate the parameter as "
                    f"{kind.__name__}, or take the payload, list[...] in a batch"
                )
            if isinstance(part, Marker) and part not in outermost:
                raise self.error("put the marker outermost: Annotated[the whole type, marker]")
        for field in outermost:
            if isinstance(field, FieldInfo):
                self._check_field(field)

    def _check_field(self, field: FieldInfo) -> None:
        if field.alias is not None or field.validation_alias is not None:
            raise self.error(
                "an alias of Field() is for the field of a model: rename the parameter, or write "
                "Query('name') or Header('name') for HTTP"
            )
        if not field.is_required():
            raise self.error("write the default after the annotation, not in Field()")

    def _description(self, marker: Marker | None) -> str:
        if marker is not None and marker.description:
            return marker.description
        metadata = read_metadata(self.annotation)
        fields = (field for field in metadata if isinstance(field, FieldInfo))
        return next((field.description for field in fields if field.description), "")


def _is_a(resource: type, wanted: Any) -> bool:
    """Whether a resource has the wanted type, or derives from it.

    Compares with the method resolution order, because `issubclass` refuses protocols and calls
    hooks of users.
    """
    # A NewType is a type of its own, and has no order of resolution.
    bases: tuple[type, ...] = getattr(get_origin(resource) or resource, "__mro__", ())
    return resource == wanted or wanted in bases


def _is_model(annotation: Any) -> bool:
    kind = strip_optional(annotation)
    return isinstance(kind, type) and issubclass(kind, BaseModel)
