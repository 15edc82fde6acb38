"""What JSON may contain, checked before anything is made of it.

A few kilobytes of `[[],[],…]` become some forty times as much in memory, so the number of values is
bounded apart from the number of bytes. Depth needs no count: the parsers refuse more than some 200
(pydantic) and 1,024 (orjson) levels.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias, cast

import orjson
from pydantic import TypeAdapter

from eventmesh.model.errors import PayloadInvalid, PayloadTooLarge
from eventmesh.model.limits import DEFAULT_MAX_NODES

NODES: Final = "JSON values"
"""The unit in which PayloadTooLarge counts nodes."""

_SYNTAX: Final = "json_invalid"
"""pydantic's type of the reason for what is not JSON."""

_Node: TypeAlias = dict[str, Any]


def count_nodes(body: bytes) -> int:
    """Count the values in JSON, or a few more: what lies in strings counts, too.

    Each value but the first stands behind `[`, `{` or `,`; an object's is counted with its key.
    """
    return 1 + body.count(b",") + body.count(b"[") + body.count(b"{")


def check_nodes(body: bytes, most: int = DEFAULT_MAX_NODES, setting: str = "") -> None:
    """Raise PayloadTooLarge for JSON with more than `most` values, which `setting` sets.

    A body of no more bytes than that costs nothing: it cannot have more values.
    """
    if len(body) >= most and (nodes := count_nodes(body)) > most:
        raise PayloadTooLarge(nodes, most, setting, NODES)


def is_small_json(body: bytes) -> bool:
    """Whether it is JSON with no more values than are parsed by default."""
    try:
        check_nodes(body)
        orjson.loads(body)
    except (PayloadTooLarge, orjson.JSONDecodeError):
        return False
    return True


def check_finite(body: bytes, what: str) -> None:
    """Raise PayloadInvalid for JSON with NaN, an infinity, or a number that becomes one (1e999).

    pydantic, which has parsed it, takes them; JSON has no such numbers (RFC 8259, section 6). An
    empty body has none.
    """
    if not _may_be_infinite(body):
        return
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as error:
        reason = {"loc": (), "msg": f"Invalid JSON: {error}", "type": _SYNTAX}
        raise PayloadInvalid(f"{what} does not fit", [reason]) from None


_SHAPES: Final = bytes.maketrans(b"123456789+E", b"0000000000e")
_EXPONENT: Final = b"0e0"
_TOO_MANY_DIGITS: Final = b"0" * 309
"""The largest number has 309 digits before its point (IEEE 754, binary64)."""

_N, _I = b"NI"


def _may_be_infinite(body: bytes) -> bool:
    """Whether the body has what such a number needs; often so in vain, in a string.

    It spares most bodies a second parser, which takes twice as long.
    """
    if _N in body or _I in body:  # Of NaN and Infinity; a search for the word is slower.
        return bool(body)
    shape = body.translate(_SHAPES)
    return _EXPONENT in shape or (len(body) >= len(_TOO_MANY_DIGITS) and _TOO_MANY_DIGITS in shape)


def find_syntax_error(error: PayloadInvalid) -> str:
    """Return why a payload is no JSON at all; nothing if it is."""
    reasons = (reason for reason in error.errors if reason.get("type") == _SYNTAX)
    return next((str(reason.get("msg", "")) for reason in reasons), "")


_FINITE: Final = frozenset(
    (
        *("bool", "bytes", "date", "datetime", "decimal", "enum", "int", "literal", "none", "str"),
        *("time", "url", "multi-host-url", "uuid"),
        *("default", "nullable", "union", "tagged-union", "definitions", "definition-ref"),
        *("model", "model-field", "dataclass-field", "typed-dict-field"),
    )
)
_FIELDS: Final = frozenset(("model-fields", "dataclass-args", "typed-dict"))
_ITEMS: Final = {
    "list": "items_schema",
    "set": "items_schema",
    "frozenset": "items_schema",
    "tuple": "items_schema",
    "dict": "values_schema",
}


def is_always_finite(adapter: TypeAdapter[Any]) -> bool:
    """Whether no value of that type can be or have a NaN or an infinity.

    False where that is not certain: of types that this does not know, too.
    """
    return _is_finite(adapter.core_schema)


def _is_finite(part: object) -> bool:
    if isinstance(part, (list, tuple)):
        return all(map(_is_finite, cast(list[object], part)))
    if not isinstance(part, dict):
        return True
    node = cast(_Node, part)
    kind = node.get("type")
    if isinstance(kind, str) and not _is_known(kind, node):
        return False
    inner = (member for name, member in node.items() if name not in _NO_VALUES)
    return all(map(_is_finite, inner))


_NO_VALUES: Final = frozenset(
    ("config", "default", "expected", "members", "metadata", "serialization")
)


def _is_known(kind: str, node: _Node) -> bool:
    if kind in _FIELDS:
        return node.get("extra_behavior") != "allow" and not _allows_extra(node)
    if kind == "model":
        return not _allows_extra(node)
    return kind in _FINITE or (kind in _ITEMS and _ITEMS[kind] in node)


def _allows_extra(node: _Node) -> bool:
    config = cast(_Node, node.get("config") or {})
    return config.get("extra_fields_behavior") == "allow"
