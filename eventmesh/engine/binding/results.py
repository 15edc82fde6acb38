"""Encodes what handlers return or yield."""

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
"""Encodes a value. Raises FunctionError for one that does not fit the annotation."""

NOT_ENCODABLE: Final = "ResultNotEncodable"
"""The type of the FunctionError for a result that cannot be encoded."""
_NO_JSON: Final = "has no JSON form: use a pydantic model, a dataclass or plain values"

_STREAMS: Final = (
    AsyncIterator,
    AsyncIterable,
    AsyncGenerator,
    Iterator,
    Iterable,
    Generator,
)


def read_result_type(annotation: Any) -> Any:
    """Return the type of the value in a return annotation; a `Response` may contain any."""
    if get_origin(annotation) in (Union, UnionType):
        others = tuple(member for member in get_args(annotation) if member is not Response)
        return Union[others]  # noqa: UP007  # from a tuple
    return Any if annotation is Response else annotation


def read_item_type(annotation: Any) -> Any:
    """Return the type of the items in the annotation of a generator."""
    if get_origin(annotation) in _STREAMS:
        return get_args(annotation)[0]
    return Any


def build_encoder(
    function: str, annotation: Any, adapter: TypeAdapter[Any], verb: str = "returned"
) -> Encoder:
    """Build the encoder of one type.

    A value is validated like a payload, so that what arrives fits the annotation. A model of
    exactly the annotated class is not validated again. bytes are passed on unchanged, but only if
    the annotation is `bytes`. Fields are named by their aliases, as the receiver validates them.
    """
    subject = f"{function}() {verb}"
    if annotation is bytes:
        return _build_bytes_encoder(subject)
    if annotation is Any:
        return _build_plain_encoder(subject)
    checked = _build_checked_encoder(subject, annotation, adapter)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _build_model_encoder(subject, annotation, adapter, checked)
    return checked


def _build_bytes_encoder(subject: str) -> Encoder:
    def encode_bytes(value: Any) -> bytes:
        if isinstance(value, bytes):
            return value
        raise _result_error(subject, value, "is not bytes: encode it, or correct the annotation")

    return encode_bytes


def _build_plain_encoder(subject: str) -> Encoder:
    def encode_anything(value: Any) -> bytes:
        if isinstance(value, bytes):
            reason = "may not be JSON: annotate it as bytes to send it unchanged"
            raise _result_error(subject, value, reason)
        try:
            return encode(value)
        except (PayloadInvalid, ValueError):
            raise _result_error(subject, value, _NO_JSON) from None

    return encode_anything


def _build_checked_encoder(subject: str, annotation: Any, adapter: TypeAdapter[Any]) -> Encoder:
    validate, to_json = adapter.validator.validate_python, adapter.serializer.to_json

    def encode_checked(value: Any) -> bytes:
        try:
            return to_json(validate(value), by_alias=True, warnings=False)
        except ValidationError as error:
            raise _result_error(subject, value, _describe_misfit(annotation, error)) from None
        except ValueError:
            raise _result_error(subject, value, _NO_JSON) from None

    return encode_checked


def _build_model_encoder(
    subject: str, model: type[BaseModel], adapter: TypeAdapter[Any], checked: Encoder
) -> Encoder:
    to_json = adapter.serializer.to_json

    def encode_model(value: Any) -> bytes:
        if type(value) is not model:
            return checked(value)
        try:
            return to_json(value, by_alias=True, warnings=False)
        except ValueError:
            raise _result_error(subject, value, _NO_JSON) from None

    return encode_model


def _result_error(subject: str, value: object, reason: str) -> FunctionError:
    # Only the type: the value may be secret, and errors are stored and sent.
    what = "None" if value is None else f"a {type(value).__qualname__}"
    return FunctionError(NOT_ENCODABLE, f"{subject} {what}, which {reason}")


def _describe_misfit(annotation: Any, error: ValidationError) -> str:
    reasons = (
        ": ".join(filter(None, (".".join(map(str, reason["loc"])), reason["msg"])))
        for reason in payload_error(error, "the result").errors
    )
    return (
        f"does not fit {format_type(annotation)} ({'; '.join(reasons)}): return a value that "
        "fits, or correct the annotation"
    )
