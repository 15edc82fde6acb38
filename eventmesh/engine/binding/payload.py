"""Binds payloads to the arguments of a handler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeAlias, get_args, get_origin

from pydantic import GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, core_schema

from eventmesh.engine.binding.annotations import format_type
from eventmesh.engine.binding.parameters import Parameter
from eventmesh.engine.codecs.json import payload_error
from eventmesh.engine.codecs.json_bounds import check_finite, check_nodes, is_always_finite
from eventmesh.model.errors import PayloadInvalid
from eventmesh.model.event import Event, event_from
from eventmesh.model.invocation import Invocation
from eventmesh.model.limits import DEFAULT_MAX_NODES
from eventmesh.model.value import value

Arguments: TypeAlias = dict[str, Any]
Binder: TypeAlias = Callable[[Invocation], Arguments]
"""Makes keyword arguments from an invocation. Raises PayloadInvalid, one reason for each field."""

INVOCATION_TYPE: Final = "eventmesh.invocation"
"""The type of the event that a handler of events gets for an invocation that is none."""

_WHAT: Final = "the payload"
_NO_OBJECT: Final = "dict_type"
"""The type of pydantic's error for a value that is not an object."""
_NONE: Final = (b"", b"null")
"""What arrives if a caller sends no payload."""


@value
class Payload:
    """The payload as a handler takes it: the value of one parameter, or an object of fields.

    `fields` has the parameters by their names in the object. With `whole`, the payload is the value
    of the one parameter in `fields`. `adapter` validates it, and has its JSON schema. As JSON it
    has at most `max_nodes` values.
    """

    fields: Mapping[str, Parameter]
    whole: bool
    adapter: TypeAdapter[Any]
    max_nodes: int = DEFAULT_MAX_NODES

    @property
    def required(self) -> bool:
        """Whether callers must send one."""
        return any(parameter.required for parameter in self.fields.values())

    @property
    def raw(self) -> bool:
        """Whether its bytes are taken unchanged, whatever the content type."""
        return self.whole and all(parameter.raw for parameter in self.fields.values())


def build_payload(
    function: str, fields: Mapping[str, Parameter], max_nodes: int = DEFAULT_MAX_NODES
) -> Payload | None:
    """Describe the payload that fills these parameters, by name; None without parameters."""
    if not fields:
        return None
    first, *others = fields.values()
    if not others and first.fills_body:
        return Payload(fields, True, first.adapter, max_nodes)  # noqa: FBT003 - `whole`
    return Payload(fields, False, build_object_adapter(function, fields), max_nodes)  # noqa: FBT003


def build_object_adapter(function: str, fields: Mapping[str, Parameter]) -> TypeAdapter[Arguments]:
    """Build what validates an object with these fields, and ignores others."""
    return TypeAdapter[Arguments](Annotated[dict[str, Any], _Object(function, fields)])


@dataclass(frozen=True, eq=False)
class _Object:
    """The schema of an object of parameters, each with the schema of its annotation."""

    title: str
    fields: Mapping[str, Parameter]

    def __get_pydantic_core_schema__(self, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.typed_dict_schema(
            {
                parameter.name: core_schema.typed_dict_field(
                    self._field(parameter, handler),
                    required=parameter.required,
                    validation_alias=name,
                )
                for name, parameter in self.fields.items()
            },
            cls_name=self.title,
            extra_behavior="ignore",
        )

    def _field(self, parameter: Parameter, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler.generate_schema(parameter.annotation)
        if parameter.required:
            return schema
        return core_schema.with_default_schema(schema, default=parameter.default)


def build_payload_binder(payload: Payload | None) -> Binder:
    """Build the binder of payloads. Without a payload, which is empty or `null`, defaults apply."""
    if payload is None:
        return _bind_nothing
    if not payload.whole:
        return _fields(payload)
    (parameter,) = payload.fields.values()
    bind = (
        _build_raw_binder(parameter.name)
        if parameter.raw
        else _build_whole_binder(parameter.name, build_json_validator(payload))
    )
    if parameter.kind == "event":
        return _build_event_binder(parameter.name, bind)
    return bind if parameter.required else _build_optional_binder(bind)


def _bind_nothing(_: Invocation) -> Arguments:
    return {}


def build_json_validator(payload: Payload) -> Callable[[bytes], Any]:
    """Build what validates JSON as that payload, within its limits.

    It raises pydantic's ValidationError, PayloadTooLarge, or PayloadInvalid for NaN and infinities.
    """
    return build_bounded_validator(payload.adapter, payload.max_nodes)


def build_bounded_validator(adapter: TypeAdapter[Any], max_nodes: int) -> Callable[[bytes], Any]:
    """Build what validates JSON of at most so many values. It raises as `build_json_validator`."""
    validate: Callable[[bytes], Any] = adapter.validator.validate_json

    def validate_bounded(body: bytes) -> Any:
        if len(body) >= max_nodes:
            check_nodes(body, max_nodes, "max_nodes")
        return validate(body)

    def validate_finite(body: bytes) -> Any:
        valid = validate_bounded(body)
        check_finite(body, _WHAT)
        return valid

    return validate_bounded if is_always_finite(adapter) else validate_finite


def _build_whole_binder(name: str, validate: Callable[[bytes], Any]) -> Binder:
    def bind(invocation: Invocation) -> Arguments:
        try:
            return {name: validate(invocation.payload or b"null")}
        except ValidationError as error:
            raise payload_error(error, _WHAT) from None  # The cause would show the input.

    return bind


def _build_raw_binder(name: str) -> Binder:
    return lambda invocation: {name: invocation.payload}


def _build_optional_binder(bind: Binder) -> Binder:
    return lambda invocation: {} if invocation.payload in _NONE else bind(invocation)


def _fields(payload: Payload) -> Binder:
    validate = build_json_validator(payload)
    expected = _expected_object(payload.fields)

    def bind(invocation: Invocation) -> Arguments:
        body = invocation.payload
        try:
            arguments: Arguments = validate(b"{}" if body in _NONE else body)
        except ValidationError as error:
            invalid = payload_error(error, _WHAT)
            if any(reason["type"] == _NO_OBJECT and not reason["loc"] for reason in invalid.errors):
                reason = {"loc": (), "msg": expected, "type": _NO_OBJECT}
                raise PayloadInvalid(invalid.message, [reason]) from None
            raise invalid from None
        return arguments

    return bind


def _expected_object(fields: Mapping[str, Parameter]) -> str:
    """The reason for a payload that is not an object, and the way to take a bare value."""
    if len(fields) > 1:
        return f"Input should be an object with the fields {' and '.join(map(repr, fields))}"
    ((name, parameter),) = fields.items()
    annotation = parameter.annotation
    kind = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    return (
        f'Input should be an object with the field {name!r}, {{"{name}": …}}; to take the bare '
        f"value, mark the parameter: {parameter.name}: Annotated[{format_type(kind)}, Body()]"
    )


def _build_event_binder(name: str, bind: Binder) -> Binder:
    def bind_event(invocation: Invocation) -> Arguments:
        data = bind(invocation)[name]
        return {
            name: _make_event(invocation, data)
            if invocation.type
            else _make_invocation_event(invocation, data)
        }

    return bind_event


def _make_event(invocation: Invocation, data: Any) -> Event[Any]:
    return event_from(
        invocation.type,
        invocation.id,
        data,
        invocation.content_type,
        invocation.headers,
        created=invocation.created,
    )


def _make_invocation_event(invocation: Invocation, data: Any) -> Event[Any]:
    """Make the event that a handler of events gets for an invocation by name."""
    return Event(
        INVOCATION_TYPE,
        data,
        invocation.id,
        f"/{invocation.caller or 'client'}",
        datetime.fromtimestamp(invocation.created, UTC),
        content_type=invocation.content_type,
    )
