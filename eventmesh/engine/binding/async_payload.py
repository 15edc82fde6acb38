"""The payload of an HTTP request as an asynchronous invocation stores it.

What runs it later binds it by name, so what came in the path, the query and the headers becomes
part of it. What came in the body is stored as it came: writing validated values back would lose
what their types do not keep.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from pydantic_core import PydanticSerializationError, from_json, to_json

from eventmesh.engine.binding.http import HttpBinding
from eventmesh.engine.binding.parameters import Parameter
from eventmesh.engine.binding.payload import Payload
from eventmesh.model.errors import PayloadInvalid
from eventmesh.model.invocation import Invocation

Arguments: TypeAlias = Mapping[str, Any]
Store: TypeAlias = Callable[[Arguments, bytes], bytes]
"""Makes the payload of bound arguments and the request's body. Raises PayloadInvalid."""

_NOTHING = (b"", b"null")


def build_async_payload(
    payload: Payload | None, binding: HttpBinding
) -> Callable[[Invocation], bytes]:
    """Build what checks requests by `binding`, and makes payloads that fit `payload` of them.

    Raises PayloadInvalid for a request that does not fit: once it is stored, its sender is gone.
    """
    bind = binding.build_binder()
    store = _build_store(payload, binding)

    def make_payload(invocation: Invocation) -> bytes:
        return store(bind(invocation), invocation.payload)

    return make_payload


def _build_store(payload: Payload | None, binding: HttpBinding) -> Store:
    if payload is None:
        return lambda _, __: b""
    if payload.whole:
        (only,) = payload.fields.values()
        return _from_body if binding.body is not None else _from_argument(only)
    return _build_object_store(binding)


def _from_body(_: Arguments, body: bytes) -> bytes:
    return body


def _from_argument(parameter: Parameter) -> Store:
    return lambda arguments, _: _encode_argument(parameter, arguments) or b"null"


def _build_object_store(binding: HttpBinding) -> Store:
    outside = [field.parameter for field in binding.fields]

    def store(arguments: Arguments, body: bytes) -> bytes:
        fields = {parameter.name: _encode_argument(parameter, arguments) for parameter in outside}
        if binding.body is not None and body not in _NOTHING:
            fields |= _split_body(binding.body, arguments, body)
        members = (to_json(name) + b":" + text for name, text in fields.items() if text)
        return b"{" + b",".join(members) + b"}"

    return store


def _split_body(in_body: Payload, arguments: Arguments, body: bytes) -> dict[str, bytes]:
    """What the body has for each parameter."""
    if not in_body.whole:
        members = from_json(body)
        return {
            parameter.name: to_json(members[name])
            for name, parameter in in_body.fields.items()
            if name in members
        }
    (only,) = in_body.fields.values()
    return {only.name: _encode_argument(only, arguments) if only.raw else body}


def _encode_argument(parameter: Parameter, arguments: Arguments) -> bytes:
    """An argument as JSON; nothing for one that has its default."""
    given = arguments.get(parameter.name, parameter.default)
    if given is parameter.default:
        return b""
    try:
        return parameter.adapter.dump_json(given, by_alias=True, warnings=False)
    except PydanticSerializationError:
        reason = "Input should be text, to be stored together with other parameters"
        raise PayloadInvalid(
            "the request does not fit",
            [{"loc": ("body", parameter.name), "msg": reason, "type": "bytes_not_text"}],
        ) from None
