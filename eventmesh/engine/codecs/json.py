"""Values as JSON, by pydantic where there is a type and by orjson where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from traceback import TracebackException
from typing import Any, Final, TypeVar

import orjson
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError
from pydantic_core import ErrorDetails, PydanticSerializationError, to_json

from eventmesh.model.errors import DeclarationError, FunctionError, PayloadInvalid

T = TypeVar("T")

MAX_MESSAGE: Final = 8 * 1024
MAX_TRACEBACK: Final = 64 * 1024
"""Characters of an exception's message and traceback that are told to others."""

MAX_REASONS: Final = 100
"""Reasons listed for one invalid payload."""
_MAX_COUNTED: Final = 10_000
"""Reasons from which on none is listed: pydantic makes all or none, and a million take seconds."""
_MAX_REASON: Final = 1024
"""Characters of a reason or of a field's name: both may quote what was sent."""

# Dataclasses are left to pydantic: orjson drops their fields that begin with an underscore, and
# knows nothing of the aliases and serialisers of pydantic's own.
_PLAIN: Final = orjson.OPT_PASSTHROUGH_DATACLASS


def encode(payload: object) -> bytes:
    """The JSON of any value that pydantic can write; bytes are passed on as they are.

    Fields are named by their aliases, as they are validated by them. What JSON has no number for
    (NaN and the infinities) becomes null. Raises PayloadInvalid for a value that has no JSON form.
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
    except TypeError:  # What orjson does not know (models in lists, Decimal, sets) pydantic may.
        return to_json(payload, inf_nan_mode="null")


def decode(body: bytes, what: str = "the payload") -> Any:
    """The value that JSON bytes stand for; an empty body is None. Raises PayloadInvalid.

    An integer of more than 64 bits becomes a float; with a type to decode it as, it stays exact.
    """
    if not body:
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise PayloadInvalid(f"{what} is not JSON: {error}") from None  # It holds the input.


def adapter(type: Any) -> TypeAdapter[Any]:
    """The validator of a type, compiled once.

    Raises DeclarationError for a type that pydantic cannot validate.
    """
    try:
        return _cached(type)
    except TypeError:  # Not hashable: its annotations hold, say, a dict.
        return _compiled(type)


def _compiled(type: Any) -> TypeAdapter[Any]:
    try:
        made = TypeAdapter(type)
        made.rebuild()  # Which fails where a name in the type is not defined.
        return made
    except (PydanticUserError, PydanticUndefinedAnnotation) as error:
        raise DeclarationError(
            f"{type!r} cannot be validated: use a pydantic model, a dataclass, a TypedDict or "
            f"plain types ({error.message})"
        ) from error


_cached = lru_cache(maxsize=1024)(_compiled)


def decode_as(body: bytes, adapter: TypeAdapter[T], what: str = "the payload") -> T:
    """The value of the adapter's type that JSON bytes stand for; an empty body is null.

    Raises PayloadInvalid.
    """
    try:
        return adapter.validate_json(body or b"null")
    except ValidationError as error:
        raise payload_error(error, what) from None  # Its cause would show the input.


def payload_error(error: ValidationError, what: str) -> PayloadInvalid:
    """A validation error as one reason a field, without the input, which may be secret.

    At most MAX_REASONS are listed, then how many there are besides; of more than 10,000, none.
    """
    return PayloadInvalid(f"{what} does not fit", list(_reasons(error)))


def _reasons(error: ValidationError) -> Iterator[dict[str, Any]]:
    unlisted = error.error_count()
    if unlisted <= _MAX_COUNTED:
        all_of_them = error.errors(include_url=False, include_input=False)
        for one in all_of_them[:MAX_REASONS]:
            unlisted -= 1
            yield {
                "loc": tuple(_place(part) for part in one["loc"]),
                "msg": truncate_middle(_message(one), _MAX_REASON),
                "type": one["type"],
            }
    if unlisted:
        yield {"loc": (), "msg": f"{unlisted:,} reasons are not listed", "type": "unlisted"}


def _message(error: ErrorDetails) -> str:
    if error["type"] != "union_tag_invalid":
        return error["msg"]
    # pydantic's own words have the tag that was sent, as no other reason of its does.
    context = error.get("ctx", {})
    return f"Input should have one of {context['expected_tags']} as its {context['discriminator']}"


def _place(part: int | str) -> int | str:
    return part if isinstance(part, int) else truncate_middle(part, _MAX_REASON)


def function_error(error: BaseException) -> FunctionError:
    """What a handler raised, as it is told to others.

    Its message has at most MAX_MESSAGE characters and its traceback at most MAX_TRACEBACK: of
    what is longer, the middle is left out.
    """
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else _path(kind)
    # Other than str(), this survives an exception that cannot say what it is.
    told = TracebackException.from_exception(error)
    return FunctionError(
        name,
        truncate_middle(str(told), MAX_MESSAGE),
        truncate_middle("".join(told.format()), MAX_TRACEBACK),
    )


def _path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("__main__.")


def truncate_middle(text: str, most: int) -> str:
    """The text in `most` characters at most, all of which UTF-8 can carry.

    The middle of a longer one is left out; lone surrogates, of undecodable file names say, are
    written as escapes.
    """
    text = text.encode(errors="backslashreplace").decode()
    if len(text) <= most:
        return text
    kept = (most - 50) // 2
    return f"{text[:kept]} … {len(text) - 2 * kept:,} characters left out … {text[-kept:]}"
