"""Encodes and decodes JSON: with pydantic if there is a type, and with orjson if there is none."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from traceback import TracebackException
from typing import Any, Final, TypeVar

import orjson
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError
from pydantic_core import ErrorDetails, PydanticSerializationError, to_json

from eventmesh.engine.codecs.json_bounds import check_nodes
from eventmesh.model.errors import DeclarationError, FunctionError, PayloadInvalid

T = TypeVar("T")

MAX_MESSAGE: Final = 8 * 1024
MAX_TRACEBACK: Final = 64 * 1024
"""Characters of an exception's message and traceback that are passed on."""

MAX_REASONS: Final = 100
"""Reasons listed for one invalid payload, at most."""
_MAX_COUNTED: Final = 10_000
"""Above this number no reason is listed: pydantic makes all or none, and a million take seconds."""
_MAX_REASON: Final = 1024
"""Characters of a reason or of the name of a field: both may quote the input."""

# Dataclasses are left to pydantic: orjson drops their fields that begin with an underscore, and
# knows nothing of the aliases and serialisers of pydantic's own.
_PLAIN: Final = orjson.OPT_PASSTHROUGH_DATACLASS


def encode(payload: object) -> bytes:
    """Encode any value that pydantic can serialise; bytes are passed on unchanged.

    Fields are named by their aliases, by which they are validated. NaN and the infinities, which
    JSON does not have, become null. Raises PayloadInvalid for a value that has no JSON form.
    """
    if isinstance(payload, (bytes, bytearray)):
        return bytes(payload)
    try:
        if isinstance(payload, BaseModel):
            return payload.__pydantic_serializer__.to_json(payload, by_alias=True, warnings=False)
        return _encode_plain(payload)
    except PydanticSerializationError as error:
        raise PayloadInvalid(
            f"a {type(payload).__name__} cannot be sent as JSON ({error}): send a pydantic "
            "model, a dataclass, plain values or bytes"
        ) from error


def _encode_plain(payload: object) -> bytes:
    try:
        return orjson.dumps(payload, option=_PLAIN)
    except TypeError:  # pydantic knows more types: models in lists, Decimal, sets.
        return to_json(payload, inf_nan_mode="null")


def decode(body: bytes, what: str = "the payload") -> Any:
    """Decode JSON; an empty body is None. Raises PayloadInvalid or PayloadTooLarge.

    An integer of more than 64 bits becomes a float; `decode_as` keeps it exact.
    """
    if not body:
        return None
    check_nodes(body)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise PayloadInvalid(
            f"{what} is not JSON: {error}"
        ) from None  # The cause would show the input.


def get_adapter(type: Any) -> TypeAdapter[Any]:
    """Return the validator of a type, which is compiled once.

    Raises DeclarationError for a type that pydantic cannot validate.
    """
    try:
        return _cached(type)
    except TypeError:  # Not hashable, because its metadata has a dict, for example.
        return _compiled(type)


def _compiled(type: Any) -> TypeAdapter[Any]:
    try:
        made = TypeAdapter(type)
        made.rebuild()  # Fails if a name in the type is not defined.
        return made
    except (PydanticUserError, PydanticUndefinedAnnotation) as error:
        raise DeclarationError(
            f"{type!r} cannot be validated: use a pydantic model, a dataclass, a TypedDict or "
            f"plain types ({error.message})"
        ) from error


_cached = lru_cache(maxsize=1024)(_compiled)


def decode_as(body: bytes, get_adapter: TypeAdapter[T], what: str = "the payload") -> T:
    """Decode JSON as the type of the adapter; an empty body is null.

    Raises PayloadInvalid or PayloadTooLarge.
    """
    check_nodes(body)
    try:
        return get_adapter.validate_json(body or b"null")
    except ValidationError as error:
        raise payload_error(error, what) from None  # The cause would show the input.


def payload_error(error: ValidationError, what: str) -> PayloadInvalid:
    """Convert a validation error: one reason for each field, without the input, maybe a secret.

    At most MAX_REASONS are listed, and the number of the others; of more than 10,000, none.
    """
    return PayloadInvalid(f"{what} does not fit", list(_reasons(error)))


def _reasons(error: ValidationError) -> Iterator[dict[str, Any]]:
    unlisted = error.error_count()
    if unlisted <= _MAX_COUNTED:
        all_of_them = error.errors(include_url=False, include_input=False)
        for details in all_of_them[:MAX_REASONS]:
            unlisted -= 1
            yield {
                "loc": tuple(_truncate_part(part) for part in details["loc"]),
                "msg": truncate_middle(_message(details), _MAX_REASON),
                "type": details["type"],
            }
    if unlisted:
        yield {"loc": (), "msg": f"{unlisted:,} reasons are not listed", "type": "unlisted"}


def _message(error: ErrorDetails) -> str:
    if error["type"] != "union_tag_invalid":
        return error["msg"]
    # pydantic's own message quotes the tag that was sent; no other one of its messages does.
    context = error.get("ctx", {})
    return f"Input should have one of {context['expected_tags']} as its {context['discriminator']}"


def _truncate_part(part: int | str) -> int | str:
    return part if isinstance(part, int) else truncate_middle(part, _MAX_REASON)


def function_error(error: BaseException) -> FunctionError:
    """Convert what a handler raised to the error that is passed on.

    The message has at most MAX_MESSAGE characters and the traceback at most MAX_TRACEBACK: the
    middle of longer ones is left out.
    """
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else _qualified_name(kind)
    # Unlike str(), this works for an exception whose __str__ fails.
    formatted = TracebackException.from_exception(error)
    return FunctionError(
        name,
        truncate_middle(str(formatted), MAX_MESSAGE),
        truncate_middle("".join(formatted.format()), MAX_TRACEBACK),
    )


def _qualified_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("__main__.")


def truncate_middle(text: str, most: int) -> str:
    """Return the text with `most` characters at most, all of which UTF-8 can encode.

    The middle of a longer text is left out. Lone surrogates, which undecodable file names have, are
    escaped.
    """
    text = text.encode(errors="backslashreplace").decode()
    if len(text) <= most:
        return text
    kept = (most - 50) // 2
    return f"{text[:kept]} … {len(text) - 2 * kept:,} characters left out … {text[-kept:]}"
