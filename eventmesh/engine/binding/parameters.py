"""The parameters of a handler: what each wants, and from where."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, cast, get_args, get_origin

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from eventmesh.engine.binding.annotations import (
    adapter_of,
    format_type,
    metadata,
    refusal,
    strip_optional,
    walk_type,
)
from eventmesh.engine.binding.markers import Body, Marker
from eventmesh.engine.binding.text_values import Shape, schema_of, shape_of
from eventmesh.engine.context import Context
from eventmesh.model.errors import DeclarationError
from eventmesh.model.event import Event
from eventmesh.model.value import value

Kind: TypeAlias = Literal["payload", "context", "event", "resource"]

REQUIRED: Final = inspect.Parameter.empty
"""The default of a parameter that has none."""

_ANYTHING: Final = TypeAdapter[Any](Any)
_UNKNOWN: Final = (
    "nothing says how JSON becomes such a value: declare it with @service.resource before this "
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

    `adapter` validates what the payload or the request has for it; for an event, the event's
    data. `raw` says that it takes the payload's bytes as they are. `resource` is the declared
    type of the resource that is injected.
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
        """Whether it is one field among others, not a payload by itself.

        A model always is a payload, even a root model of text: so it is sent.
        """
        return self.shape is Shape.PLAIN and not self.raw and not _is_model(self.annotation)

    @property
    def fills_body(self) -> bool:
        """Whether it is the payload as a whole, where no other parameter takes a part of it."""
        return not self.plain or isinstance(self.marker, Body)


def read_parameters(
    function: str,
    parameters: Mapping[str, inspect.Parameter],
    hints: Mapping[str, Any],
    resources: Collection[type],
) -> tuple[Parameter, ...]:
    """The parameters of a handler. Raises DeclarationError for what nothing can fill."""
    read = tuple(
        _ParameterParser(function, one, hints.get(name, Any)).parameter(resources)
        for name, one in parameters.items()
    )
    _check_together(function, read)
    return read


def taken_by_name(parameters: Sequence[Parameter]) -> dict[str, Parameter]:
    """The parameters that take a part of what an invocation carries, by their names."""
    return {one.name: one for one in parameters if one.kind in ("payload", "event")}


def _check_together(function: str, parameters: Sequence[Parameter]) -> None:
    by_kind: dict[Kind, list[str]] = {}
    for parameter in parameters:
        by_kind.setdefault(parameter.kind, []).append(parameter.name)
    for kind in ("context", "event"):
        if len(names := by_kind.get(kind, ())) > 1:
            raise DeclarationError(
                f"{function}() asks for the {kind} {len(names)} times, as {' and '.join(names)}: "
                "keep one of them"
            )
    if "event" in by_kind and "payload" in by_kind:
        (event,), others = by_kind["event"], by_kind["payload"]
        raise DeclarationError(
            f"{function}() has both the event {event!r} and {' and '.join(map(repr, others))}, "
            f"but the event is all there is: read {event}.data, typed by Event[...], instead"
        )


@value
class _ParameterParser:
    """A parameter about to be read."""

    function: str
    declared: inspect.Parameter
    annotation: Any

    def refuse(self, why: str) -> DeclarationError:
        return refusal(self.function, self.declared.name, self.annotation, why)

    def parameter(self, resources: Collection[type]) -> Parameter:
        if advice := _REFUSED_KINDS.get(self.declared.kind):
            raise self.refuse(advice)
        wanted = strip_optional(self.annotation)
        if isinstance(wanted, type) and issubclass(wanted, Context):
            return self._injected("context")
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
            adapter=adapter_of(data, self.refuse, _UNKNOWN),
        )

    def _resource(self, wanted: Any, resources: Collection[type]) -> type | None:
        """The resource to inject: that very type, or else the only one derived from it."""
        derived = [one for one in resources if wanted is not object and _is_a(one, wanted)]
        if wanted in derived:
            return cast(type, wanted)
        if len(derived) > 1:
            names = " and ".join(format_type(one) for one in derived)
            raise self.refuse(f"{names} are such resources: name one of them")
        return derived[0] if derived else None

    def _payload(self, wanted: Any) -> Parameter:
        marker = self._marker()
        self._check_placing()
        adapter = adapter_of(self.annotation, self.refuse, _UNKNOWN)
        return Parameter(
            self.declared.name,
            "payload",
            self.annotation,
            self.declared.default,
            marker,
            self._description(marker),
            shape_of(schema_of(adapter)),
            wanted is bytes,
            adapter,
        )

    def _marker(self) -> Marker | None:
        if isinstance(self.declared.default, (FieldInfo, Marker)):
            raise self.refuse(
                "a marker as the default would reach whoever calls the function as it is: write "
                "Annotated[type, marker], and the real default after it"
            )
        markers = [one for one in metadata(self.annotation) if isinstance(one, Marker)]
        if len(markers) > 1:
            raise self.refuse("it can come from one place only: keep one of the markers")
        return markers[0] if markers else None

    def _check_placing(self) -> None:
        """Refuse what would say nothing in the place where it stands."""
        outermost = metadata(self.annotation)
        for part in walk_type(self.annotation):
            kind = get_origin(part) or part
            if isinstance(kind, type) and issubclass(kind, Marker):
                raise self.refuse(f"a marker is an object: write {kind.__name__}()")
            if isinstance(kind, type) and issubclass(kind, (Context, Event)):
                raise self.refuse(
                    f"a handler gets one {kind.__name__}, not as a part of something: annotate "
                    f"the parameter as {kind.__name__}, or take the payload, list[...] in a batch"
                )
            if isinstance(part, Marker) and part not in outermost:
                raise self.refuse("put the marker outermost: Annotated[the whole type, marker]")
        for field in outermost:
            if isinstance(field, FieldInfo):
                self._check_field(field)

    def _check_field(self, field: FieldInfo) -> None:
        if field.alias is not None or field.validation_alias is not None:
            raise self.refuse(
                "an alias of Field() belongs to a model's field: rename the parameter, or say "
                "Query('name') or Header('name') for HTTP"
            )
        if not field.is_required():
            raise self.refuse("write the default after the annotation, not in Field()")

    def _description(self, marker: Marker | None) -> str:
        if marker is not None and marker.description:
            return marker.description
        fields = (one for one in metadata(self.annotation) if isinstance(one, FieldInfo))
        return next((field.description for field in fields if field.description), "")


def _is_a(resource: type, wanted: Any) -> bool:
    """Whether a resource is wanted, by its declared type or one that it derives from.

    By the order of resolution, because `issubclass` refuses protocols and calls users' hooks.
    """
    # A NewType is a type of its own, and has no order of resolution.
    bases: tuple[type, ...] = getattr(get_origin(resource) or resource, "__mro__", ())
    return resource == wanted or wanted in bases


def _is_model(annotation: Any) -> bool:
    kind = strip_optional(annotation)
    return isinstance(kind, type) and issubclass(kind, BaseModel)
