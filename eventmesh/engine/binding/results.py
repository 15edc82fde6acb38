"""How what a handler returns or yields becomes bytes."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from types import UnionType
from typing import Any, Final, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from eventmesh.engine.binding.annotations import format_type
from eventmesh.engine.codecs.json import encode, payload_error
from eventmesh.model.errors import FunctionError, PayloadInvalid
from eventmesh.model.result import Response

Encoder: TypeAlias = Callable[[Any], bytes]
"""Makes bytes of a value. Raises FunctionError for one that does not fit the annotation."""

NOT_ENCODABLE: Final = "ResultNotEncodable"
"""The type of the FunctionError for a result that has no bytes."""
_NO_JSON: Final = "has no JSON form: use a pydantic model, a dataclass or plain values"

_STREAMS: Final = (
    AsyncIterator,
    AsyncIterable,
    AsyncGenerator,
    Iterator,
    Iterable,
    Generator,
)


def returned_type(annotation: Any) -> Any:
    """What a return annotation says about the value; a `Response` may hold any."""
    if get_origin(annotation) in (Union, UnionType):
        others = tuple(one for one in get_args(annotation) if one is not Response)
        return Union[others]  # noqa: UP007  # made of a tuple
    return Any if annotation is Response else annotation


def yielded_type(annotation: Any) -> Any:
    """What the annotation of a generator says about each item."""
    if get_origin(annotation) in _STREAMS:
        return get_args(annotation)[0]
    return Any


def encoder_of(
    function: str, annotation: Any, adapter: TypeAdapter[Any], verb: str = "returned"
) -> Encoder:
    """The encoder of one type, made once.

    A value is validated as a payload is, so that what arrives is what the annotation says; but a
    model of exactly the annotated class is trusted to hold what its fields say. bytes are passed
    on where the annotation is `bytes`, and only there. Fields are named by their aliases, which
    is how the other side validates them.
    """
    subject = f"{function}() {verb}"
    if annotation is bytes:
        return _bytes(subject)
    if annotation is Any:
        return _anything(subject)
    checked = _checked(subject, annotation, adapter)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _model(subject, annotation, adapter, checked)
    return checked


def _bytes(subject: str) -> Encoder:
    def encode_bytes(value: Any) -> bytes:
        if isinstance(value, bytes):
            return value
        raise _refused(subject, value, "is no bytes: encode it, or correct the annotation")

    return encode_bytes


def _anything(subject: str) -> Encoder:
    def encode_anything(value: Any) -> bytes:
        if isinstance(value, bytes):
            reason = "may be no JSON: annotate it as bytes to have them sent as they are"
            raise _refused(subject, value, reason)
        try:
            return encode(value)
        except (PayloadInvalid, ValueError):
            raise _refused(subject, value, _NO_JSON) from None

    return encode_anything


def _checked(subject: str, annotation: Any, adapter: TypeAdapter[Any]) -> Encoder:
    validate, to_json = adapter.validator.validate_python, adapter.serializer.to_json

    def encode_checked(value: Any) -> bytes:
        try:
            return to_json(validate(value), by_alias=True, warnings=False)
        except ValidationError as error:
            raise _refused(subject, value, _misfit(annotation, error)) from None
        except ValueError:
            raise _refused(subject, value, _NO_JSON) from None

    return encode_checked


def _model(
    subject: str, model: type[BaseModel], adapter: TypeAdapter[Any], checked: Encoder
) -> Encoder:
    to_json = adapter.serializer.to_json

    def encode_model(value: Any) -> bytes:
        if type(value) is not model:
            return checked(value)
        try:
            return to_json(value, by_alias=True, warnings=False)
        except ValueError:
            raise _refused(subject, value, _NO_JSON) from None

    return encode_model


def _refused(subject: str, value: object, reason: str) -> FunctionError:
    # Only the type of what came: the value may be secret, and errors are stored and sent.
    what = "None" if value is None else f"a {type(value).__qualname__}"
    return FunctionError(NOT_ENCODABLE, f"{subject} {what}, which {reason}")


def _misfit(annotation: Any, error: ValidationError) -> str:
    reasons = (
        ": ".join(filter(None, (".".join(map(str, one["loc"])), one["msg"])))
        for one in payload_error(error, "the result").errors
    )
    return (
        f"does not fit {format_type(annotation)} ({'; '.join(reasons)}): make it what the "
        "annotation says, or correct the annotation"
    )
