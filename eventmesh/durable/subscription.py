"""Which events an execution waits for, as what can be looked up by an event."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from eventmesh.model.errors import DeclarationError
from eventmesh.model.event import check_pattern, is_concrete, matches
from eventmesh.model.value import value

MAX_FIELDS: Final = 10
MAX_SHAPE: Final = 1000
"""Fields of the data that are compared, and characters of all that names them."""

_SUBJECT: Final = "$subject"
_MISSING: Final = object()


@value
class Subscription:
    """Which event an operation waits for.

    `shape` says what of an event is compared: its type, with a pattern or exactly, and fields of
    its data. `key` is a digest of what they must be. So all that wait for an event are found by a
    few look-ups, however many wait for others.
    """

    shape: str
    key: str


def make_subscription(pattern: str, match: Mapping[str, Any], subject: str = "") -> Subscription:
    """Return the subscription to the events that fit.

    `match` has values, as JSON has them, by the paths of fields in the data, such as "order.id".
    With a `subject` the event must have that. Raises DeclarationError.
    """
    check_pattern(pattern)
    if _SUBJECT in match:
        raise DeclarationError(f"match= cannot compare a field {_SUBJECT!r}: use subject=")
    wanted = {**match, **({_SUBJECT: subject} if subject else {})}
    paths = sorted(wanted)
    # One that names a type may be different for each execution, and so it belongs to the key.
    exact = is_concrete(pattern)
    shape = json.dumps(["" if exact else pattern, paths])
    if len(paths) > MAX_FIELDS or len(shape) > MAX_SHAPE:
        raise DeclarationError(
            f"match= compares {len(paths)} fields: {MAX_FIELDS} at most, whose names have "
            f"{MAX_SHAPE} characters in all"
        )
    values = [wanted[path] for path in paths]
    return Subscription(shape, _digest([pattern if exact else "", *values]))


def find_subscriptions(
    shapes: Iterable[str], type: str, subject: str, data: object
) -> Sequence[Subscription]:
    """Return the subscriptions of these shapes that an event would end."""
    found: list[Subscription] = []
    for shape in shapes:
        pattern, paths = json.loads(shape)
        if pattern and not matches(pattern, type):
            continue
        values = [subject if path == _SUBJECT else _find(data, path) for path in paths]
        if not any(value is _MISSING for value in values):
            found.append(Subscription(shape, _digest(["" if pattern else type, *values])))
    return found


def _find(data: object, path: str) -> object:
    for name in path.split("."):
        if not isinstance(data, dict):
            return _MISSING
        data = cast(dict[str, object], data).get(name, _MISSING)
    return data


def _digest(values: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
